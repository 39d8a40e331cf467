// SPDX-License-Identifier: MIT
/* Memory that nobody has touched yet: does it begin where it is used? */
#include "patterns.h"

#define VALUE	0x0123456789abcdefULL

static uint64_t *words, sums[2];
static size_t count;

static void setup(size_t bytes)
{
	count = bytes / sizeof(*words);
	words = frame_memory(bytes);
}

static void by_cpu(void)
{
	size_t i;

	for (i = 0; i < count; i++)
		words[i] = VALUE ^ i;
	run("sum", words, count);
	sums[0] = end.result[0];
	run("sum", words, count);
	sums[1] = end.result[0];
}

static void by_device(void)
{
	run("fill", words, count, VALUE);
	run("sum", words, count);
	sums[0] = end.result[0];
	sums[1] = sum_of(words, count);
}

static void verify_cpu(void)
{
	uint64_t own = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		own += VALUE ^ i;
		check(words[i] == (VALUE ^ i), "word %zu is 0x%llx", i, (unsigned long long)words[i]);
	}
	check(sums[0] == own && sums[1] == own, "the device sums up to 0x%llx and 0x%llx, not 0x%llx",
	      (unsigned long long)sums[0], (unsigned long long)sums[1], (unsigned long long)own);
}

static void verify_device(void)
{
	size_t i;

	for (i = 0; i < count; i++)
		check(words[i] == VALUE, "word %zu is 0x%llx", i, (unsigned long long)words[i]);
	check(sums[0] == VALUE * count, "the device sums up to 0x%llx", (unsigned long long)sums[0]);
	check(sums[1] == VALUE * count, "the CPU sums up to 0x%llx", (unsigned long long)sums[1]);
}

const struct pattern first_touch_cpu = {
	.name = "first-touch-cpu",
	.what = "the CPU fills memory, the device reads it twice",
	.bytes = 8 << 20,
	.setup = setup,
	.work = by_cpu,
	.verify = verify_cpu,
};

const struct pattern first_touch_device = {
	.name = "first-touch-device",
	.what = "the device fills memory and reads it, then the CPU does",
	.bytes = 4 << 20,
	.setup = setup,
	.work = by_device,
	.verify = verify_device,
};
