// SPDX-License-Identifier: MIT
/* The device sweeps over long arrays, again and again; the CPU made them and reads the end. */
#include "patterns.h"

#define SWEEPS	4
#define FACTOR	3

static float *x, *y;
static size_t count;

static void setup(size_t bytes)
{
	size_t i;

	count = bytes / 2 / sizeof(*x);
	x = frame_memory(bytes / 2);
	y = frame_memory(bytes / 2);
	for (i = 0; i < count; i++) {
		x[i] = i % 1000;
		y[i] = i % 7;
	}
}

static void work(void)
{
	int sweep;

	for (sweep = 0; sweep < SWEEPS; sweep++)
		run("saxpy", y, x, count, float_bits(FACTOR));
}

static void verify(void)
{
	size_t i;

	for (i = 0; i < count; i++) {
		float expected = i % 7 + SWEEPS * FACTOR * (i % 1000);

		check(y[i] == expected, "y[%zu] is %g, not %g", i, y[i], expected);
	}
}

const struct pattern stream = {
	.name = "stream",
	.what = "the device sweeps over long arrays, again and again",
	.bytes = 16 << 20,
	.setup = setup,
	.work = work,
	.verify = verify,
};
