// SPDX-License-Identifier: MIT
/*
 * More memory than HBM: the device fills it block by block, and reads the
 * blocks in reverse order, so that what it used last is what it wants first.
 */
#include "patterns.h"

#define BLOCKS	18
/* As much as beside the HBM that devices have if nothing else is said. */
#define WITHOUT_HBM	(288UL << 20)

static uint64_t *words, sums[BLOCKS];
static size_t count;		/* of a block */

static void setup(size_t bytes)
{
	if (!bytes)
		bytes = has_hbm() ? info.hbm_bytes / 8 * 9 : WITHOUT_HBM;
	count = bytes / sizeof(*words) / BLOCKS;
	words = frame_memory(BLOCKS * count * sizeof(*words));
}

static void work(void)
{
	size_t block;

	for (block = 0; block < BLOCKS; block++)
		run("fill", words + block * count, count, block + 1);
	for (block = BLOCKS; block--;) {
		run("sum", words + block * count, count);
		sums[block] = end.result[0];
	}
}

static void verify(void)
{
	size_t block, i, bad = 0;

	for (block = 0; block < BLOCKS; block++) {
		check(sums[block] == (block + 1) * count, "block %zu sums up to %llu", block,
		      (unsigned long long)sums[block]);
		for (i = 0; i < count; i++)
			bad += words[block * count + i] != block + 1;
	}
	check(!bad, "%zu wrong words", bad);
}

const struct pattern oversubscribe = {
	.name = "oversubscribe",
	.what = "the device works on an eighth more memory than HBM can hold",
	.setup = setup,
	.work = work,
	.verify = verify,
};
