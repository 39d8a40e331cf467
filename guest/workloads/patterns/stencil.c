// SPDX-License-Identifier: MIT
/* A simulation on a grid: the device computes, the CPU feeds a border and looks at one row. */
#include <stdlib.h>
#include <string.h>

#include "patterns.h"

#define WIDTH	512UL
#define STEPS	8

static float *grid[2], *own[2];
static size_t height;
static float seen[STEPS], expected[STEPS];

static void setup(size_t bytes)
{
	size_t i, size;

	height = bytes / 2 / (WIDTH * sizeof(float));
	size = WIDTH * height * sizeof(float);
	for (i = 0; i < 2; i++) {
		grid[i] = frame_memory(size);
		own[i] = must(malloc(size));
	}
	for (i = 0; i < WIDTH * height; i++)
		own[0][i] = i % 97 * 0.5f;
	memcpy(grid[0], own[0], size);
}

/* What comes in from outside, into the first row. */
static void feed(float *cells, int step)
{
	size_t x;

	for (x = 0; x < WIDTH; x++)
		cells[x] = (x + step) % 13;
}

static float look(const float *cells)
{
	const float *row = cells + height / 2 * WIDTH;
	float sum = 0;
	size_t x;

	for (x = 0; x < WIDTH; x++)
		sum += row[x];
	return sum;
}

static void work(void)
{
	int step;

	for (step = 0; step < STEPS; step++) {
		feed(grid[step % 2], step);
		run("stencil", grid[(step + 1) % 2], grid[step % 2], WIDTH, height);
		seen[step] = look(grid[(step + 1) % 2]);
	}
}

static void step_by_cpu(float *new, const float *old)
{
	size_t x, y;

	memcpy(new, old, WIDTH * height * sizeof(float));
	for (y = 1; y < height - 1; y++)
		for (x = 1; x < WIDTH - 1; x++) {
			const float *at = old + y * WIDTH + x;

			new[y * WIDTH + x] =
				((at[-WIDTH] + at[WIDTH]) + (at[-1] + at[1])) * 0.25f;
		}
}

static void verify(void)
{
	int step;

	for (step = 0; step < STEPS; step++) {
		feed(own[step % 2], step);
		step_by_cpu(own[(step + 1) % 2], own[step % 2]);
		expected[step] = look(own[(step + 1) % 2]);
		check(seen[step] == expected[step], "step %d: the row sums up to %g, not %g", step,
		      seen[step], expected[step]);
	}
	check(!memcmp(grid[STEPS % 2], own[STEPS % 2], WIDTH * height * sizeof(float)),
	      "the grids differ");
}

const struct pattern stencil = {
	.name = "stencil",
	.what = "the device computes on a grid, the CPU feeds a border and looks at a row",
	.bytes = 4 << 20,
	.setup = setup,
	.work = work,
	.verify = verify,
};
