/* SPDX-License-Identifier: MIT */
/* Where malloc put things: whole pages, for requests that take ranges. */
#ifndef _RANGES_H
#define _RANGES_H

#include <stddef.h>
#include <stdint.h>

#define MAX_RANGES	16

struct range {
	uintptr_t start, end;
};

struct ranges {
	struct range range[MAX_RANGES];
	size_t count;
	size_t bytes;
};

/* The heap, and the mappings that malloc made for the @count large @blocks. */
void ranges_find(struct ranges *ranges, void *const *blocks, size_t count);

#endif /* _RANGES_H */
