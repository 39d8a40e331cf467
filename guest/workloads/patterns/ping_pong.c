// SPDX-License-Identifier: MIT
/* CPU and device write the same memory in turn. */
#include "patterns.h"

#define ROUNDS	6

static float *values, *ones;
static size_t count;

static void setup(size_t bytes)
{
	size_t i;

	count = bytes / 2 / sizeof(*values);
	values = frame_memory(bytes / 2);
	ones = frame_memory(bytes / 2);
	for (i = 0; i < count; i++) {
		values[i] = i % 16;
		ones[i] = 1;
	}
}

static void work(void)
{
	size_t i, round;

	for (round = 0; round < ROUNDS; round++) {
		run("saxpy", values, ones, count, float_bits(1));
		for (i = 0; i < count; i++)
			values[i] += 1;
	}
}

static void verify(void)
{
	size_t i;

	for (i = 0; i < count; i++)
		check(values[i] == i % 16 + 2 * ROUNDS, "number %zu is %g", i, values[i]);
}

const struct pattern ping_pong = {
	.name = "ping-pong",
	.what = "CPU and device write the same memory in turn",
	.bytes = 512 << 10,
	.setup = setup,
	.work = work,
	.verify = verify,
};
