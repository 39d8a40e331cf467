// SPDX-License-Identifier: MIT
/* The device reaches a process's memory in place: no migration, any kind of mapping. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define ANSWER		0x1122334455667788ULL

/* The device writes the first half of some memory and copies the second to @scratch. */
static void read_and_write(int dev, uint64_t *memory, size_t pages)
{
	uint64_t *scratch = map_anonymous(pages);
	size_t i, half = WORDS(pages) / 2;
	struct devmodel_wait end;

	pattern_write(memory, pages, 7);
	EXPECT_OK(devmodel_run(dev, &end, "copy", scratch, memory, pages * page_size()));
	EXPECT_EQ(end.result[0], pages * page_size());
	EXPECT_PATTERN(scratch, pages, 7);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, half, ANSWER));
	EXPECT_EQ(end.result[0], half);
	for (i = 0; i < half; i++)
		EXPECT_EQ(memory[i], ANSWER);
	for (; i < WORDS(pages); i++)
		EXPECT_EQ(memory[i], scratch[i]);
	munmap(scratch, pages * page_size());
}

static void malloced(int dev)
{
	uint64_t *memory = malloc(65 * page_size());

	EXPECT(memory);
	read_and_write(dev, memory, 64);
}

static void anonymous_shared(int dev)
{
	uint64_t *memory = map_shared(16);
	pid_t child;

	read_and_write(dev, memory, 16);
	child = fork();
	if (!child)
		_exit(memory[0] == ANSWER ? 0 : 1);
	EXPECT_EQ(wait_child(child), 0);
}

static void file_shared(int dev)
{
	int file = make_file("/tmp", 16);
	uint64_t *memory = mmap(NULL, 16 * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	uint64_t word, dirtied;

	EXPECT(memory != MAP_FAILED);
	read_and_write(dev, memory, 16);
	EXPECT_EQ(pread(file, &word, sizeof(word), 8), sizeof(word));
	EXPECT_EQ(word, ANSWER);
	/* What the device wrote, the kernel must know of before the mapping is gone. */
	dirtied = stats_now(dev).pages_dirtied;
	EXPECT(!munmap(memory, 16 * page_size()));
	EXPECT(stats_now(dev).pages_dirtied >= dirtied + 8);
	EXPECT_EQ(pread(file, &word, sizeof(word), 8), sizeof(word));
	EXPECT_EQ(word, ANSWER);
}

static void file_private(int dev)
{
	int file = make_file("/tmp", 16);
	uint64_t *memory, word;

	word = 41;
	EXPECT_EQ(pwrite(file, &word, sizeof(word), 8), sizeof(word));
	memory = mmap(NULL, 16 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	EXPECT(memory != MAP_FAILED);
	read_and_write(dev, memory, 16);
	/* Copied on write: the file has what it had. */
	EXPECT_EQ(pread(file, &word, sizeof(word), 8), sizeof(word));
	EXPECT_EQ(word, 41);
}

static void file_private_first_touch(int dev)
{
	int file = make_file("/tmp", 2);
	struct devmodel_wait end;
	uint64_t *memory, word = 41;

	EXPECT_EQ(pwrite(file, &word, sizeof(word), 0), sizeof(word));
	memory = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	EXPECT(memory != MAP_FAILED);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], 41);
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
	EXPECT_EQ(memory[0], 42);
	EXPECT_EQ(pread(file, &word, sizeof(word), 0), sizeof(word));
	EXPECT_EQ(word, 41);
}

static void untouched(int dev)
{
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;

	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + 1, 1, 5));
	EXPECT_EQ(memory[0], 0);
	EXPECT_EQ(memory[1], 5);
	/* The zero page is the whole system's: it must be what it was. */
	EXPECT_EQ(*(volatile uint64_t *)map_anonymous(1), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", map_anonymous(1), WORDS(1)));
	EXPECT_EQ(end.result[0], 0);
}

static void odd_addresses(int dev)
{
	size_t size = 3 * page_size() + 41;
	uint8_t *from = map_anonymous(5), *to = map_anonymous(5);
	struct devmodel_wait end;

	pattern_write(from, 5, 3);
	EXPECT_OK(devmodel_run(dev, &end, "copy", to + 1, from + page_size() - 13, size));
	EXPECT(!memcmp(to + 1, from + page_size() - 13, size));
	EXPECT_EQ(to[0], 0);
	EXPECT_EQ(to[1 + size], 0);
	/* A word across two pages; but an atomic one must be aligned. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", to + 4 * page_size() - 3, 1, 0x0102030405060708));
	EXPECT_EQ(to[4 * page_size() - 3], 8);
	EXPECT_EQ(to[4 * page_size() + 4], 1);
	EXPECT_ERRNO(devmodel_run(dev, &end, "atomic_add", to + 3, 3, 5), EINVAL);
}

static void programs(int dev)
{
	struct node {
		struct node *next;
		uint64_t value;
	} *nodes = calloc(1000, sizeof(*nodes));
	float *x = calloc(3000, sizeof(*x)), *y = calloc(3000, sizeof(*y)), a = 0.5f;
	uint64_t *bins = calloc(256, sizeof(*bins));
	uint8_t *bytes = calloc(1, 5000);
	struct devmodel_wait end;
	uint32_t bits;
	size_t i;

	for (i = 0; i < 1000; i++) {
		nodes[i].next = i ? &nodes[i - 1] : NULL;
		nodes[i].value = i;
	}
	EXPECT_OK(devmodel_run(dev, &end, "list_walk", &nodes[999], 0, 8));
	EXPECT_EQ(end.result[0], 1000);
	EXPECT_EQ(end.result[1], 499500);

	for (i = 0; i < 3000; i++) {
		x[i] = i;
		y[i] = 1;
	}
	memcpy(&bits, &a, sizeof(bits));
	EXPECT_OK(devmodel_run(dev, &end, "saxpy", y, x, 3000, bits));
	for (i = 0; i < 3000; i++)
		EXPECT(y[i] == 1 + 0.5f * i);

	for (i = 0; i < 5000; i++)
		bytes[i] = i % 251;
	bins[250] = 5;
	EXPECT_OK(devmodel_run(dev, &end, "histogram", bytes, 5000, bins));
	EXPECT_EQ(bins[0], 20);
	EXPECT_EQ(bins[250], 5 + 19);
	EXPECT_EQ(bins[251], 0);
}

static void many_at_once(int dev)
{
	uint64_t *memory = map_anonymous(48);
	struct devmodel_wait end;
	int64_t handle[48];
	size_t i;

	for (i = 0; i < 48; i++) {
		handle[i] = devmodel_launch(dev, "fill", memory + i * WORDS(1), WORDS(1), i);
		EXPECT_OK(handle[i]);
	}
	for (i = 48; i-- > 0; ) {
		EXPECT_OK(devmodel_wait(dev, handle[i], 30000, &end));
		EXPECT_EQ(end.status, DEVMODEL_STATUS_OK);
		EXPECT_EQ(memory[i * WORDS(1)], i);
		EXPECT_EQ(memory[(i + 1) * WORDS(1) - 1], i);
	}
}

static void nothing_moves(int dev)
{
	struct devmodel_stats before = stats_now(dev), after;
	uint64_t *memory = map_anonymous(32);
	struct devmodel_wait end;

	pattern_write(memory, 32, 1);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(32)));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(32), 1));
	after = stats_now(dev);
	EXPECT_EQ(after.pages_to_device, before.pages_to_device);
	EXPECT_EQ(after.pages_to_system, before.pages_to_system);
	EXPECT_EQ(after.hbm_bytes_in_use, before.hbm_bytes_in_use);
	EXPECT(after.device_faults > before.device_faults);
	EXPECT(after.my_device_faults > before.my_device_faults);
	EXPECT(after.bytes_to_device >= before.bytes_to_device + 32 * page_size());
	EXPECT(after.bytes_to_system >= before.bytes_to_system + 32 * page_size());
	EXPECT(after.tlb_misses > before.tlb_misses);
	EXPECT(after.programs >= before.programs + 2);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "malloced memory in place", .run = malloced },
		{ .name = "shared anonymous memory in place", .run = anonymous_shared },
		{ .name = "shared file mapping in place", .run = file_shared },
		{ .name = "private file mapping in place", .run = file_private },
		{ .name = "private file mapping, first touched by the device",
		  .run = file_private_first_touch },
		{ .name = "untouched memory reads as zero", .run = untouched },
		{ .name = "odd addresses and page crossings", .run = odd_addresses },
		{ .name = "saxpy, histogram and list walk", .run = programs },
		{ .name = "48 programs at once", .run = many_at_once },
		{ .name = "in place, nothing migrates", .run = nothing_moves },
	};

	return ktap_main(argc, argv, "The device reaches memory in place", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
