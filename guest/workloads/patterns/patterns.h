/* SPDX-License-Identifier: MIT */
/* The ways in which a CPU and a device share memory, each a small workload. */
#ifndef _PATTERNS_H
#define _PATTERNS_H

#include "../frame.h"

struct pattern {
	const char *name;
	const char *what;
	size_t bytes;			/* about as much memory, if nothing else is asked for; 0: it knows */
	void (*setup)(size_t bytes);	/* the CPU's, before anything is counted */
	void (*work)(void);
	void (*verify)(void);		/* the CPU's, when everything is counted */
};

extern const struct pattern first_touch_cpu, first_touch_device, ping_pong, read_mostly, stream,
	stencil, graph, key_value, oversubscribe, hog;

/* Run a device program, and keep an eye on HBM. */
#define run(...) \
	do { \
		must_do(devmodel_run(dev, &end, __VA_ARGS__)); \
		look_at_hbm(); \
	} while (0)
extern struct devmodel_wait end;

/* The bits of a float, as programs take it. */
uint32_t float_bits(float value);
/* The next of a sequence that looks random. */
uint64_t random_next(uint64_t *state);
uint64_t sum_of(const uint64_t *words, size_t count);

#endif /* _PATTERNS_H */
