/* SPDX-License-Identifier: MIT */
/*
 * What the driver's trace events say, for tests: each process has a trace
 * instance of its own, which the harness takes away behind it.
 */
#ifndef _TRACE_H
#define _TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One devmodel_update: an event of the 2015 vocabulary and what it did. */
struct trace_update {
	char event[24];
	uint64_t start;
	uint64_t end;
	uint64_t pte_mask;
	unsigned long valid_before;
	unsigned long valid_after;
	unsigned long writable_before;
	unsigned long writable_after;
};

/* Begin to trace the driver's events, from nothing on. Ends the test if it cannot. */
void trace_begin(void);
/* The same, but only when mirrors are made and released; for tests with a lot of noise. */
void trace_begin_lifetimes(void);
/* Forget what was traced so far. */
void trace_clear(void);
/*
 * The updates of the mirror @dev that touch a range, oldest first. Returns how
 * many there were, which may be more than @room.
 */
size_t trace_updates(int dev, const void *address, size_t length, struct trace_update *found,
		     size_t room);
/* How many invalidates the mirror's device acknowledged that touch a range. */
size_t trace_invalidates(int dev, const void *address, size_t length);
/* How many lines of an event ("devmodel_release") there are, of all devices and mirrors. */
size_t trace_count(const char *event);
/* The same with @text in them. */
size_t trace_count_with(const char *event, const char *text);
/* Copy all lines to the log. */
void trace_note(void);
/* Take away what a process that has ended traced with. */
void trace_forget(pid_t pid);

#endif /* _TRACE_H */
