/* SPDX-License-Identifier: MIT */
/*
 * dm-model: one run of random operations. What an operation is, what is going
 * on, and who does which kind: model_device.c has device programs done,
 * model_ops.c the rest, model_history.c tells how a disagreement came about.
 */
#ifndef _MODEL_RUN_H
#define _MODEL_RUN_H

#include "../lib/libdevmodel.h"
#include "../lib/random.h"
#include "model.h"

#define MAX_PENDING	16
#define SCRATCH		(64 << 10)
#define HISTORY		4096
#define MAX_DEVICES	8

enum what {
	CPU_READ, CPU_WRITE, DEVICE_READ, DEVICE_FILL, DEVICE_COPY, DEVICE_ADD, DEVICE_SUM,
	TO_DEVICE, TO_SYSTEM, ADVISE, PROTECT, UNMAP, MAP, MAP_HUGE, DISCARD, SNAPSHOT, FORK,
	PAGE_OUT, MAKE_COLD, MAKE_EQUAL, MOVE, SCATTER, LOCK, WHATS,
};

extern const char *const what_names[WHATS];

/* One operation: offsets and lengths are bytes of the arena. */
struct operation {
	uint64_t number;
	enum what what;
	size_t offset, length;
	size_t source;		/* DEVICE_COPY, MOVE */
	unsigned int device;	/* which, of those that are open */
	uint64_t value;		/* fill and add: what; others: see there */
	uint64_t result;	/* what the device must answer */
	bool refused;		/* the device must fault */
	bool unsure;		/* the device may fault */
};

/* A device program at work. */
struct pending {
	struct operation op;
	int64_t handle;
	uint8_t *scratch;	/* where a DEVICE_READ puts what it read */
};

/* A device that this process is mirrored on. */
struct device {
	int fd;
	enum devmodel_model model;
};

/* The run; there is one in a process. */
struct run {
	struct model model;
	struct random random;
	struct operation history[HISTORY];
	uint64_t number;	/* of the operation that is being done */
	struct pending pending[MAX_PENDING];
	unsigned int npending;
	uint64_t refusals;
	uint64_t pages_moved;
	struct device device[MAX_DEVICES];
	unsigned int ndevices;
	unsigned int process;	/* of those that run at the same time */
	int child;		/* process id, 0 for none */
};

extern struct run run;

static inline bool op_writes(const struct operation *op)
{
	return op->what != DEVICE_READ && op->what != DEVICE_SUM;
}

static inline bool op_touches(const struct operation *op, size_t offset, size_t length)
{
	return op->offset < offset + length && offset < op->offset + op->length;
}

/* model_history.c */
void print_operation(const struct operation *op);
/* The end: what is wrong, and the operations that led to it, at @page above all. */
__attribute__((noreturn, format(printf, 2, 3)))
void disagree(size_t page, const char *format, ...);
/* The CPU looks: is it all as it must be? */
void compare(size_t offset, size_t length, const char *who);

/* model_device.c */
void run_device(const struct operation *op);
void finish_all(void);
/* Wait for the programs if one of them uses these bytes in a way that excludes ours. */
void settle(size_t offset, size_t length, bool write);

/* model_ops.c */
void run_cpu(const struct operation *op);
void run_migration(const struct operation *op);
void run_snapshot(const struct operation *op);
void run_advice(const struct operation *op);
void run_change(const struct operation *op);
void run_kernel(const struct operation *op);
void run_fork(struct operation *op);
void reap(void);

#endif /* _MODEL_RUN_H */
