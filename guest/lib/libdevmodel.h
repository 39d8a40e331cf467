/* SPDX-License-Identifier: MIT */
/*
 * libdevmodel: device programs over this process's own addresses.
 *
 *	int dev = devmodel_open(NULL);
 *	struct devmodel_wait end;
 *	uint64_t *words = malloc(count * sizeof(*words));
 *
 *	if (dev < 0 || devmodel_run(dev, &end, "fill", words, count, 42))
 *		errx(1, "%s", devmodel_error());
 *
 * Every call returns 0 (or what it makes) and, if it fails, -1 with errno set
 * and one line in devmodel_error(). An open device is a mirror of the process
 * that opened it: a child of fork() opens its own.
 */
#ifndef _LIBDEVMODEL_H
#define _LIBDEVMODEL_H

#include <stddef.h>
#include <stdint.h>

#include "../uapi/devmodel.h"

#define DEVMODEL_DEFAULT_PATH	"/dev/devmodel0"
/* How long devmodel_run() waits. Nothing waits for ever. */
#define DEVMODEL_RUN_MS		60000
#define DEVMODEL_MAX_ARGS	8

/*
 * Open a device: @path, or $DEVMODEL_DEVICE, or /dev/devmodel0. Returns a file
 * descriptor. EBUSY: this process has this device open already.
 */
int devmodel_open(const char *path);
void devmodel_close(int dev);

int devmodel_info(int dev, struct devmodel_info *info);
int devmodel_stats(int dev, struct devmodel_stats *stats);

/*
 * Start a device program, with an array of arguments. Returns a handle > 0 for
 * devmodel_wait(), or -1; EAGAIN: too many are running, wait for one.
 */
int64_t devmodel_launch_v(int dev, const char *program, unsigned int nargs,
			  const uint64_t *args);

/*
 * Wait for a launch. Returns 0 when the program ended; @end->status tells how.
 * ETIME: still running, and the handle stays good. ENOENT: there is no such
 * program. EINVAL: it does not take these arguments. With these two @end->status
 * is NO_PROGRAM and BAD_ARGUMENT, with other errors PENDING.
 */
int devmodel_wait(int dev, int64_t handle, unsigned int timeout_ms,
		  struct devmodel_wait *end);

/*
 * Launch and wait. Returns 0 only if the program ended with DEVMODEL_STATUS_OK.
 * Else errno is that of launch or wait, or by status: EFAULT for FAULT (an
 * address is not mapped or not writable, or of memory that no device can have
 * alone where the program wants an atomic), EIO for the others.
 *
 * An atomic ("atomic_add") is one step to this process's CPUs, too. It needs
 * private memory: for MAP_SHARED the program ends with DEVMODEL_STATUS_FAULT and
 * DEVMODEL_ACCESS_ATOMIC.
 */
int devmodel_run_v(int dev, struct devmodel_wait *end, const char *program,
		   unsigned int nargs, const uint64_t *args);

/*
 * Move the pages of a range. Returns 0 also if some of them stayed: see the
 * counts in @done and, if @outcomes is not NULL, one enum devmodel_outcome per
 * page there. @done may be NULL.
 */
int devmodel_migrate(int dev, const void *address, size_t length,
		     enum devmodel_target target, struct devmodel_migrate *done,
		     uint32_t *outcomes);

int devmodel_advise(int dev, const void *address, size_t length,
		    enum devmodel_policy policy);

/*
 * A range as the kernel's page table (@cpu) and the device's (@device) see it:
 * one word of enum devmodel_page bits per page each. Returns 0.
 */
int devmodel_snapshot(int dev, const void *address, size_t length, uint32_t *cpu,
		      uint32_t *device);

/* Where a page is, from a word of a snapshot. */
static inline enum devmodel_place devmodel_place(uint32_t state)
{
	return (enum devmodel_place)((state >> DEVMODEL_PLACE_SHIFT) & 0xf);
}

/* The last failure of this thread, in one line without a newline. */
const char *devmodel_error(void);

/* Names, as in devmodel/abi; "?" for a number that has none. */
const char *devmodel_model_name(enum devmodel_model model);
const char *devmodel_status_name(enum devmodel_status status);
const char *devmodel_outcome_name(enum devmodel_outcome outcome);
const char *devmodel_place_name(enum devmodel_place place);

/*
 * devmodel_launch(dev, "name", args...) and devmodel_run(dev, &end, "name", args...)
 * take up to 8 pointers and integers. As macros, because a variadic function
 * would read garbage where an int was given for a 64-bit argument.
 */
#define DEVMODEL_U64_1(a)	(uint64_t)(a)
#define DEVMODEL_U64_2(a, ...)	(uint64_t)(a), DEVMODEL_U64_1(__VA_ARGS__)
#define DEVMODEL_U64_3(a, ...)	(uint64_t)(a), DEVMODEL_U64_2(__VA_ARGS__)
#define DEVMODEL_U64_4(a, ...)	(uint64_t)(a), DEVMODEL_U64_3(__VA_ARGS__)
#define DEVMODEL_U64_5(a, ...)	(uint64_t)(a), DEVMODEL_U64_4(__VA_ARGS__)
#define DEVMODEL_U64_6(a, ...)	(uint64_t)(a), DEVMODEL_U64_5(__VA_ARGS__)
#define DEVMODEL_U64_7(a, ...)	(uint64_t)(a), DEVMODEL_U64_6(__VA_ARGS__)
#define DEVMODEL_U64_8(a, ...)	(uint64_t)(a), DEVMODEL_U64_7(__VA_ARGS__)
#define DEVMODEL_COUNT_(_1, _2, _3, _4, _5, _6, _7, _8, n, ...) n
#define DEVMODEL_COUNT(...)	DEVMODEL_COUNT_(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define DEVMODEL_PASTE_(a, b)	a##b
#define DEVMODEL_PASTE(a, b)	DEVMODEL_PASTE_(a, b)
#define DEVMODEL_ARGS(...) \
	DEVMODEL_COUNT(__VA_ARGS__), \
	(const uint64_t[]){ \
		DEVMODEL_PASTE(DEVMODEL_U64_, DEVMODEL_COUNT(__VA_ARGS__))(__VA_ARGS__) \
	}

#define devmodel_launch(dev, program, ...) \
	devmodel_launch_v(dev, program, DEVMODEL_ARGS(__VA_ARGS__))
#define devmodel_run(dev, end, program, ...) \
	devmodel_run_v(dev, end, program, DEVMODEL_ARGS(__VA_ARGS__))

#endif /* _LIBDEVMODEL_H */
