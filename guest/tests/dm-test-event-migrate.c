// SPDX-License-Identifier: MIT
/* The event table, MIGRATE: pages go, the range and the device's page tables stay. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "row.h"

#define PAGES		4
#define HUGE		(2UL << 20)
#define COLLAPSE	25	/* MADV_COLLAPSE */

/* All of it has gone from the device, tables stayed, and the bytes are found where they are now. */
static void expect_migrated(struct row *row)
{
	row_expect(row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT_EQ(stats_now(row->dev).my_page_table_pages, row->before.my_page_table_pages);
	row_bytes(row);
}

static void by_own_migration(int dev)
{
	struct row row;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	migrate_all(dev, row.memory, PAGES, DEVMODEL_TARGET_DEVICE);
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT_EQ(row.update.valid_before, PAGES);
	EXPECT_EQ(row_readable(&row), 0);
	device_reads(dev, row.memory, PAGES, ROW_SEED);
	row_look(&row);
	EXPECT_EQ(row_readable(&row), PAGES);
	EXPECT_EQ(devmodel_place(row.device[0]), DEVMODEL_PLACE_HBM);
	/* And back. */
	trace_clear();
	migrate_all(dev, row.memory, PAGES, DEVMODEL_TARGET_SYSTEM);
	expect_migrated(&row);
}

static void by_cpu_touch(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct row row;

	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	row_begin(&row, dev, memory, PAGES);
	EXPECT_EQ(devmodel_place(row.device[1]), DEVMODEL_PLACE_HBM);
	*(volatile uint64_t *)(memory + words(1));
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT(!(row.device[1] & DEVMODEL_PAGE_VALID));
	EXPECT_EQ(devmodel_place(row.cpu[1]), DEVMODEL_PLACE_SYSTEM);
	EXPECT_EQ(trace_count("devmodel_cpu_fault"), 1);
	row_bytes(&row);
}

static void by_swap(int dev)
{
	struct row row;

	swap_on();
	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	swap_out(row.memory, PAGES);
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT_EQ(row_readable(&row), 0);
	EXPECT_EQ(row.cpu[0], 0);
	EXPECT(stats_now(dev).pages_dirtied >= row.before.pages_dirtied + PAGES);
	/* The device has them brought in again ... */
	device_reads(dev, row.memory, PAGES, ROW_SEED);
	/* ... and what it writes to a page that swap still has a copy of is not lost. */
	row.seed = 77;
	device_writes(dev, row.memory, PAGES, row.seed);
	trace_clear();
	swap_out(row.memory, PAGES);
	expect_migrated(&row);
	swap_off();
	row_bytes(&row);
}

/* A page that was given up comes back as it is, or the device wrote to it and it is kept. */
static void by_free(int dev)
{
	struct row row;

	swap_on();
	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	EXPECT(!madvise(row.memory, PAGES * page_size(), MADV_FREE));
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	row.seed = 5;
	device_writes(dev, row.memory, PAGES, row.seed);
	EXPECT(!madvise(row.memory, PAGES * page_size(), MADV_PAGEOUT));
	row_bytes(&row);
	swap_off();
}

static void by_discarding(int dev)
{
	struct devmodel_wait end;
	struct row row;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	EXPECT(!madvise(row.memory, PAGES * page_size(), MADV_DONTNEED));
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT_EQ(row.update.valid_before, PAGES);
	EXPECT_EQ(row_readable(&row), 0);
	EXPECT_EQ(stats_now(dev).my_page_table_pages, row.before.my_page_table_pages);
	/* The range is valid still: it reads as zero. */
	EXPECT_OK(devmodel_run(dev, &end, "sum", row.memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
}

static void by_truncation(int dev)
{
	int file = make_file("/tmp", PAGES), result;
	struct devmodel_wait end;
	struct row row;
	void *memory = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	EXPECT(memory != MAP_FAILED);
	row_begin(&row, dev, memory, PAGES);
	EXPECT(!ftruncate(file, 0));
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	/* Nothing is there now, as a CPU would be told by SIGBUS. */
	result = devmodel_run(dev, &end, "sum", row.memory, 1);
	expect_fault(&end, result, row.memory, page_size(), DEVMODEL_ACCESS_READ);
	EXPECT(!ftruncate(file, PAGES * page_size()));
	EXPECT_OK(devmodel_run(dev, &end, "sum", row.memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
}

/* Compaction moves pages from a zone's beginning to its end: the pages with the lowest frames. */
static uint64_t *lowest(uint64_t *memory, size_t pages, size_t window)
{
	uint64_t *low = memory;
	size_t i;

	for (i = 0; i < pages; i += window)
		if (frame_of(memory + words(i)) < frame_of(low))
			low = memory + words(i);
	return low;
}

static void by_compaction(int dev)
{
	enum { SPREAD = 16384, WINDOW = ROW_PAGES, ROUNDS = 20, SPARED_KB = 80 << 10 };
	uint64_t *spread = map_anonymous(SPREAD), *page, frames[WINDOW];
	size_t round, i, moved = 0;
	char huge_pages[30];
	uint64_t free_kb;
	struct row row;

	EXPECT(!madvise(spread, SPREAD * page_size(), MADV_NOHUGEPAGE));
	memset(spread, 1, SPREAD * page_size());
	row_begin(&row, dev, lowest(spread, SPREAD, WINDOW), WINDOW);
	/* Holes, for others to move to, so many that none is far from where somebody looks. */
	for (page = spread; page < spread + words(SPREAD); page += words(2))
		if (page < row.memory || page >= row.memory + words(WINDOW))
			EXPECT(!madvise(page, page_size(), MADV_DONTNEED));
	trace_clear();
	for (i = 0; i < WINDOW; i++)
		frames[i] = frame_of(row.memory + words(i));
	for (round = 0; round < ROUNDS && !moved; round++) {
		/*
		 * What is free by itself goes to huge pages, so that there is something
		 * to compact for. Not all of it: whoever asked next would be killed.
		 */
		free_kb = kernel_get("/proc/meminfo", "MemFree:");
		snprintf(huge_pages, sizeof(huge_pages), "%llu",
			 (unsigned long long)(free_kb - SPARED_KB) / (HUGE >> 10));
		kernel_set("/proc/sys/vm/nr_hugepages", huge_pages);
		kernel_set("/proc/sys/vm/compact_memory", "1");
		kernel_set("/proc/sys/vm/nr_hugepages", "0");
		for (i = 0; i < WINDOW; i++)
			moved += frame_of(row.memory + words(i)) != frames[i];
	}
	ktap_note("%zu pages moved, 0x%llx went to 0x%llx, in %zu rounds", moved,
		  (unsigned long long)frames[0], (unsigned long long)frame_of(row.memory), round);
	if (!moved)
		ktap_skip("compaction left our pages where they were");
	expect_migrated(&row);
}

/* Two pages of the same bytes become one. The kernel protects them, and then replaces one. */
static void by_ksm(int dev)
{
	uint64_t *memory = map_anonymous(2), *other = memory + words(1);
	struct devmodel_wait end;
	struct row row;

	row_begin(&row, dev, memory, 2);
	device_writes(dev, other, 1, ROW_SEED);
	merge_pages(memory, other);
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	device_reads(dev, memory, 1, ROW_SEED);
	device_reads(dev, other, 1, ROW_SEED);
	row_look(&row);
	EXPECT_EQ(row_readable(&row), 2);
	EXPECT_EQ(row_writable(&row), 0);
	/* A write to one of them is not one to the other. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, 9));
	EXPECT_EQ(memory[0], 9);
	EXPECT_PATTERN(other, 1, ROW_SEED);
	EXPECT(frame_of(memory) != frame_of(other));
}

static void by_collapse(int dev)
{
	size_t pages = HUGE / page_size();
	uint8_t *memory = map_anonymous(2 * pages);
	uint64_t *aligned = (uint64_t *)(((uintptr_t)memory + HUGE - 1) & -HUGE);
	struct row row;

	EXPECT(!madvise(aligned, HUGE, MADV_NOHUGEPAGE));
	row_begin(&row, dev, aligned, pages);
	EXPECT(!(row.cpu[0] & DEVMODEL_PAGE_HUGE));
	EXPECT(!madvise(aligned, HUGE, MADV_HUGEPAGE));
	if (madvise(aligned, HUGE, COLLAPSE))
		ktap_skip("no collapse: %s", strerror(errno));
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT(row.cpu[0] & DEVMODEL_PAGE_HUGE);
	EXPECT_EQ(row_readable(&row), 0);
	row_bytes(&row);
}

/* The CPU's write breaks COW: the device must go on with the copy. */
static void by_cow(int dev)
{
	struct row row;
	uint64_t first;
	int go[2];
	char byte;
	pid_t child;

	EXPECT(!pipe(go));
	row_begin(&row, dev, map_anonymous(1), 1);
	first = frame_of(row.memory);
	child = fork();
	if (!child) {
		close(go[1]);
		EXPECT_EQ(read(go[0], &byte, 1), 0);
		EXPECT_PATTERN(row.memory, 1, ROW_SEED);
		_exit(0);
	}
	device_reads(dev, row.memory, 1, ROW_SEED);
	trace_clear();
	pattern_write(row.memory, 1, 8);
	EXPECT(frame_of(row.memory) != first);
	row.seed = 8;
	expect_migrated(&row);
	close(go[1]);
	EXPECT_EQ(wait_child(child), 0);
}

static void by_numa(int dev)
{
	struct row row;
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES], i, from;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	for (i = 0; i < PAGES; i++)
		pages[i] = row.memory + words(i);
	EXPECT(!syscall(SYS_move_pages, 0, PAGES, pages, NULL, status, 0));
	from = status[0];
	for (i = 0; i < PAGES; i++)
		nodes[i] = !from;
	EXPECT(!syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(status[i], !from);
	expect_migrated(&row);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "MIGRATE by our own migration", .run = by_own_migration,
		  .needs = KTAP_HBM },
		{ .name = "MIGRATE by a CPU touch", .run = by_cpu_touch, .needs = KTAP_PRIVATE },
		{ .name = "MIGRATE by swap-out", .run = by_swap },
		{ .name = "MIGRATE by compaction", .run = by_compaction },
		{ .name = "MIGRATE by KSM", .run = by_ksm },
		{ .name = "MIGRATE by THP collapse", .run = by_collapse },
		{ .name = "MIGRATE by a move to another node", .run = by_numa,
		  .needs = KTAP_NODES },
		{ .name = "MIGRATE by copy on write", .run = by_cow },
		{ .name = "MIGRATE by MADV_DONTNEED", .run = by_discarding },
		{ .name = "MIGRATE by MADV_FREE", .run = by_free },
		{ .name = "MIGRATE by truncation", .run = by_truncation },
	};

	return ktap_main(argc, argv, "The event table: MIGRATE", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
