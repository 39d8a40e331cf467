/* SPDX-License-Identifier: MIT */
/*
 * What all workloads share: the device, the memory that is watched, checks, and
 * a result: the counters over the work, and where the pages lay before and after.
 *
 *	frame_open("stream");
 *	x = frame_memory(bytes);
 *	... the CPU makes what there is to work on
 *	frame_begin();
 *	... the work
 *	frame_end();
 *	... check() what came of it
 *	frame_print();
 *	printf("}\n");
 *	return frame_exit();
 */
#ifndef _FRAME_H
#define _FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/libdevmodel.h"

extern int dev;			/* -1: none, the CPU alone */
extern struct devmodel_info info;

/* Name the workload; the CPU alone from here on. */
void frame_name(const char *name);
/* The same with the device. Ends the program if there is none. */
void frame_open(const char *name);
/* Zeroed memory of its own mapping, not touched yet, whole pages, watched. */
void *frame_memory(size_t bytes);
/* Watch a range of whole pages. */
void frame_watch(uintptr_t start, uintptr_t end);
void frame_begin(void);
void frame_end(void);
/* One JSON object on stdout, without its closing brace. */
void frame_print(void);
/* 0, or 1 if a check failed. */
int frame_exit(void);

bool has_hbm(void);
/* What device faults do with all that is watched. Nothing without HBM. */
void frame_advise(enum devmodel_policy policy);
/* All that is watched back to system memory, as far as it will go. */
void frame_bring_back(void);
/* Note how much of HBM is in use; the most is in the result. */
void look_at_hbm(void);

/* What the device must not fail at: ends the program with the library's message. */
void must_do(int result);
/* The same of an allocation. */
void *must(void *memory);
/* Say what is wrong, if it is, and count. */
__attribute__((format(printf, 2, 3)))
void check(bool good, const char *format, ...);
double now(void);

#endif /* _FRAME_H */
