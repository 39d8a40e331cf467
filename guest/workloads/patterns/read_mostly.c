// SPDX-License-Identifier: MIT
/* A table that CPU and device read over and over; now and then the CPU changes a page of it. */
#include <unistd.h>

#include "patterns.h"

#define ROUNDS	6
/* One page of so many is changed before each round. */
#define RARE	64

static uint64_t *words, sums[ROUNDS], own[ROUNDS];
static size_t count;

static void setup(size_t bytes)
{
	size_t i;

	count = bytes / sizeof(*words);
	words = frame_memory(bytes);
	for (i = 0; i < count; i++)
		words[i] = i * i;
}

static void work(void)
{
	size_t i, round, step = RARE * sysconf(_SC_PAGESIZE) / sizeof(*words);

	for (round = 0; round < ROUNDS; round++) {
		for (i = round; i < count; i += step)
			words[i] += round + 1;
		run("sum", words, count);
		sums[round] = end.result[0];
		own[round] = sum_of(words, count);
	}
}

static void verify(void)
{
	size_t i, round, step = RARE * sysconf(_SC_PAGESIZE) / sizeof(*words);
	uint64_t expected = 0;

	for (i = 0; i < count; i++)
		expected += i * i;
	for (round = 0; round < ROUNDS; round++) {
		for (i = round; i < count; i += step)
			expected += round + 1;
		check(sums[round] == expected, "round %zu: the device sums up to 0x%llx, not 0x%llx",
		      round, (unsigned long long)sums[round], (unsigned long long)expected);
		check(own[round] == expected, "round %zu: the CPU sums up to 0x%llx, not 0x%llx",
		      round, (unsigned long long)own[round], (unsigned long long)expected);
	}
}

const struct pattern read_mostly = {
	.name = "read-mostly",
	.what = "both read a table over and over; now and then the CPU changes a page",
	.bytes = 512 << 10,
	.setup = setup,
	.work = work,
	.verify = verify,
};
