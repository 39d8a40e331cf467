/* SPDX-License-Identifier: MIT */
#ifndef _RANDOM_H
#define _RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Pseudo-random numbers, the same for the same seed everywhere. */
struct random {
	uint64_t state;
};

uint64_t random_next(struct random *random);
/* 0 <= result < limit */
static inline size_t random_below(struct random *random, size_t limit)
{
	return random_next(random) % limit;
}

#endif /* _RANDOM_H */
