// SPDX-License-Identifier: MIT
/* A CPU touches private pages: the page comes back, and its neighbours if that helps. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
/* The most that one touch brings: see docs/driver.md. */
#define CLUSTER		64
#define HUGE		((size_t)2 << 20)

static void touch(const uint64_t *memory, size_t page)
{
	(void)*(const volatile uint64_t *)(memory + WORDS(page));
}

static void in_order(int dev)
{
	struct devmodel_stats start, now;
	size_t pages = 1024, i;
	uint64_t *memory = map_anonymous(pages);

	pattern_write(memory, pages, 1);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	start = stats_now(dev);
	for (i = 0; i < pages; i++)
		touch(memory, i);
	now = stats_now(dev);
	ktap_note("%llu touches for %zu pages",
		  (unsigned long long)(now.cpu_faults - start.cpu_faults), pages);
	EXPECT_EQ(now.pages_to_system, start.pages_to_system + pages);
	/* 1, 4, 16, and then the most each time; less where 2 MiB end. */
	EXPECT(now.cpu_faults - start.cpu_faults <= pages / CLUSTER + 8);
	EXPECT(now.cpu_faults - start.cpu_faults >= pages / CLUSTER);
	EXPECT_PATTERN(memory, pages, 1);
}

/* Who wants one page gets one page. */
static void here_and_there(int dev)
{
	struct devmodel_stats start;
	size_t pages = 256, i;
	uint64_t *memory = map_anonymous(pages);

	pattern_write(memory, pages, 2);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	start = stats_now(dev);
	/* Odd, so that all are met; never the next one. */
	for (i = 0; i < pages; i++) {
		touch(memory, i * 37 % pages);
		EXPECT_EQ(stats_now(dev).cpu_faults, start.cpu_faults + i + 1);
		EXPECT_EQ(stats_now(dev).pages_to_system, start.pages_to_system + i + 1);
	}
	EXPECT_PATTERN(memory, pages, 2);
}

static void ping_pong(int dev)
{
	struct devmodel_stats start;
	uint64_t *memory = map_anonymous(16);
	struct devmodel_wait end;
	int i;

	pattern_write(memory, 16, 3);
	migrate_all(dev, memory, 16, DEVMODEL_TARGET_DEVICE);
	start = stats_now(dev);
	for (i = 0; i < 20; i++) {
		touch(memory, 5);
		EXPECT_EQ(pages_in_hbm(dev, memory, 16), 15);
		migrate_all(dev, memory + WORDS(5), 1, DEVMODEL_TARGET_DEVICE);
		EXPECT_OK(devmodel_run(dev, &end, "sum", memory + WORDS(5), 1));
	}
	EXPECT_EQ(stats_now(dev).pages_to_system, start.pages_to_system + 20);
	EXPECT_PATTERN(memory, 16, 3);
}

/* What comes along is of the same mapping, in HBM, and able to move. */
static void neighbours(int dev)
{
	size_t size = page_size(), i;
	uint8_t *mapping = map_anonymous(2 * HUGE / size), *copy = map_anonymous(128);
	uint8_t *memory = (uint8_t *)(((uintptr_t)mapping + HUGE - 1) & -HUGE);
	struct devmodel_stats start;

	EXPECT(!madvise(mapping, 2 * HUGE, MADV_NOHUGEPAGE));
	pattern_write(memory, 128, 4);
	pattern_write(copy, 128, 4);
	/* A hole at 30, pages in system memory from 32 to 39; another mapping from 64 on. */
	EXPECT(!mprotect(memory + 64 * size, 64 * size, PROT_READ));
	migrate_all(dev, memory, 30, DEVMODEL_TARGET_DEVICE);
	migrate_all(dev, memory + 40 * size, 88, DEVMODEL_TARGET_DEVICE);
	EXPECT(!madvise(memory + 30 * size, size, MADV_DONTNEED));
	start = stats_now(dev);
	/* 1, 4, 16 pages; then 64, of which 9 and 24 are left in this mapping. */
	for (i = 0; i <= 21; i++)
		touch((uint64_t *)memory, i);
	EXPECT_EQ(stats_now(dev).cpu_faults, start.cpu_faults + 4);
	EXPECT_EQ(pages_in_hbm(dev, memory, 64), 0);
	EXPECT_EQ(pages_in_hbm(dev, memory + 64 * size, 64), 64);
	EXPECT_EQ(stats_now(dev).pages_to_system, start.pages_to_system + 30 + 24);
	EXPECT(!memcmp(memory, copy, 30 * size));
	EXPECT_EQ(memory[30 * size], 0);
	EXPECT(!memcmp(memory + 31 * size, copy + 31 * size, 97 * size));
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "pages touched in order come many at a time", .run = in_order,
		  .needs = KTAP_PRIVATE },
		{ .name = "pages touched here and there come alone", .run = here_and_there,
		  .needs = KTAP_PRIVATE },
		{ .name = "a page that goes to and fro comes alone", .run = ping_pong,
		  .needs = KTAP_PRIVATE },
		{ .name = "what comes along is of the same mapping and in HBM", .run = neighbours,
		  .needs = KTAP_PRIVATE },
	};

	return ktap_main(argc, argv, "A CPU touches private pages", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
