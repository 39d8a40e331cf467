// SPDX-License-Identifier: MIT
/* The event table, MUNMAP: a range goes, and with it the device's page tables. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"

#define PAGES	4
/* A place where nothing else is, so that the tables below it are nobody else's. */
#define ALONE	((void *)0x200000000000)

static void *alone(void)
{
	void *memory = mmap(ALONE, PAGES * page_size(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	EXPECT(memory == ALONE);
	return memory;
}

/* Begin with memory that lies alone; returns the page-table pages from before it. */
static uint64_t begin_alone(struct row *row, int dev)
{
	uint64_t tables = stats_now(dev).my_page_table_pages;

	row_begin(row, dev, alone(), PAGES);
	EXPECT(stats_now(dev).my_page_table_pages >= tables + 3);
	return tables;
}

/* The memory is gone: so are its entries and tables, and an access is a fault that is told. */
static void expect_gone(struct row *row, uint64_t tables)
{
	struct devmodel_wait end;
	int result;

	row_expect(row, "MUNMAP", ROW_NOTHING_STAYS);
	EXPECT_EQ(row->update.valid_before, PAGES);
	EXPECT_EQ(row->update.writable_before, PAGES);
	EXPECT_EQ(row_readable(row), 0);
	EXPECT_EQ(stats_now(row->dev).my_page_table_pages, tables);
	result = devmodel_run(row->dev, &end, "sum", row->memory, 1);
	expect_fault(&end, result, row->memory, page_size(), DEVMODEL_ACCESS_READ);
}

static void by_munmap(int dev)
{
	struct row row;
	uint64_t tables = begin_alone(&row, dev);

	EXPECT(!munmap(row.memory, PAGES * page_size()));
	expect_gone(&row, tables);
}

static void by_part(int dev)
{
	struct row row;

	begin_alone(&row, dev);
	EXPECT(!munmap(row.memory + words(1), page_size()));
	row_expect(&row, "MUNMAP", ROW_NOTHING_STAYS);
	EXPECT_EQ(row.update.start, (uintptr_t)(row.memory + words(1)));
	EXPECT_EQ(row.update.end, (uintptr_t)(row.memory + words(2)));
	EXPECT_EQ(row.update.valid_before, 1);
	EXPECT_EQ(row_writable(&row), PAGES - 1);
	EXPECT(!row.device[1]);
	EXPECT_EQ(stats_now(dev).my_page_table_pages, row.before.my_page_table_pages);
}

static void by_mremap(int dev)
{
	struct row row;
	uint64_t tables = begin_alone(&row, dev);
	uint64_t *there = map_anonymous(PAGES);
	size_t length = PAGES * page_size();

	EXPECT(mremap(row.memory, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
	expect_gone(&row, tables);
	device_reads(dev, there, PAGES, ROW_SEED);
	EXPECT_PATTERN(there, PAGES, ROW_SEED);
}

static void by_mprotect(int dev)
{
	struct row row;
	uint64_t tables = begin_alone(&row, dev);

	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_NONE));
	expect_gone(&row, tables);
	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_READ | PROT_WRITE));
	row_bytes(&row);
}

/* Another mapping over it: the device must not see the old one's bytes. */
static void by_mmap(int dev)
{
	struct row row;
	uint64_t tables = begin_alone(&row, dev);
	struct devmodel_wait end;

	EXPECT(mmap(row.memory, PAGES * page_size(), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == row.memory);
	row_expect(&row, "MUNMAP", ROW_NOTHING_STAYS);
	EXPECT_EQ(stats_now(dev).my_page_table_pages, tables);
	EXPECT_OK(devmodel_run(dev, &end, "sum", row.memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
}

/* In a child: a mirror with memory mapped, and the number of its context told. */
static void __attribute__((noreturn)) hold(int tell, bool exec)
{
	char *arguments[] = { "true", NULL };
	struct devmodel_info info;
	int dev = devmodel_open(NULL);

	EXPECT_OK(dev);
	device_writes(dev, alone(), PAGES, 1);
	EXPECT_OK(devmodel_info(dev, &info));
	EXPECT_EQ(write(tell, &info.context, sizeof(info.context)), sizeof(info.context));
	if (exec)
		execv("/bin/true", arguments);
	_exit(exec ? 127 : 0);
}

/* The address space goes: all of it is taken from the device, and then the mirror released. */
static void by_end(int dev, bool exec)
{
	uint64_t tables = stats_now(dev).page_table_pages;
	uint32_t context;
	char text[96];
	int told[2];
	pid_t child;

	trace_begin();
	EXPECT(!pipe(told));
	child = fork();
	if (!child)
		hold(told[1], exec);
	EXPECT_EQ(read(told[0], &context, sizeof(context)), sizeof(context));
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_EQ(stats_now(dev).page_table_pages, tables);
	snprintf(text, sizeof(text), "ctx=%u event=MUNMAP start=0x0 end=0xffffffffffffffff", context);
	EXPECT_EQ(trace_count_with("devmodel_update", text), 1);
	EXPECT_EQ(trace_count("devmodel_register"), 1);
	EXPECT_EQ(trace_count("devmodel_release"), 1);
	EXPECT_EQ(stats_now(dev).mirrors, 1);
}

static void by_exit(int dev)
{
	by_end(dev, false);
}

static void by_exec(int dev)
{
	by_end(dev, true);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "MUNMAP by munmap", .run = by_munmap },
		{ .name = "MUNMAP by munmap of a part", .run = by_part },
		{ .name = "MUNMAP by mremap", .run = by_mremap },
		{ .name = "MUNMAP by mprotect to none", .run = by_mprotect },
		{ .name = "MUNMAP by another mapping", .run = by_mmap },
		{ .name = "MUNMAP by exit", .run = by_exit },
		{ .name = "MUNMAP by exec", .run = by_exec },
	};

	return ktap_main(argc, argv, "The event table: MUNMAP", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
