// SPDX-License-Identifier: MIT
/* The event table, DEVICE_RFAULT and DEVICE_WFAULT: the device gets what the process may do, no more. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"

#define PAGES	4

/* Memory that the device has not seen yet. */
static void untouched(struct row *row, int dev, void *memory)
{
	*row = (struct row) { .dev = dev, .memory = memory, .pages = PAGES };
	row_look(row);
	EXPECT_EQ(row_readable(row), 0);
	trace_begin();
}

/*
 * The pages were given to the device by events of this name. Returns how many
 * it got to read; they can be written as well only if it said it would.
 */
static void expect_granted(struct row *row, const char *event, enum devmodel_access access)
{
	unsigned long valid = 0, writable = 0;
	struct trace_update found[PAGES];
	size_t i, count = trace_updates(row->dev, row->memory, PAGES * page_size(), found, PAGES);

	for (i = 0; i < count && i < PAGES; i++) {
		EXPECT(!strcmp(found[i].event, event));
		EXPECT_EQ(found[i].pte_mask, ~0ULL);
		valid += found[i].valid_after - found[i].valid_before;
		writable += found[i].writable_after - found[i].writable_before;
	}
	row_look(row);
	EXPECT_EQ(row_readable(row), PAGES);
	if (access == DEVMODEL_ACCESS_WRITE)
		EXPECT_EQ(writable, PAGES);
	else
		EXPECT_EQ(valid, PAGES);
	EXPECT_EQ(row_writable(row), writable);
}

static void zero_page(int dev)
{
	struct devmodel_wait end;
	struct row row;

	untouched(&row, dev, map_anonymous(PAGES));
	EXPECT_OK(devmodel_run(dev, &end, "sum", row.memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
	EXPECT_EQ(devmodel_place(row.cpu[0]), DEVMODEL_PLACE_ZERO_PAGE);
	EXPECT_EQ(row_writable(&row), 0);
	/* A write gets a page of its own; the zero page stays what it is. */
	trace_clear();
	device_writes(dev, row.memory, PAGES, 1);
	row_look(&row);
	EXPECT_EQ(row_writable(&row), PAGES);
	EXPECT_EQ(devmodel_place(row.cpu[0]), DEVMODEL_PLACE_SYSTEM);
	EXPECT_PATTERN(row.memory, PAGES, 1);
	EXPECT_OK(devmodel_run(dev, &end, "sum", map_anonymous(1), words(1)));
	EXPECT_EQ(end.result[0], 0);
}

static void written_by_cpu(int dev)
{
	struct row row;

	untouched(&row, dev, map_anonymous(PAGES));
	pattern_write(row.memory, PAGES, 2);
	device_reads(dev, row.memory, PAGES, 2);
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
}

/* A file of a pattern, mapped. */
static void *map_file(int *file, uint64_t seed, int flags)
{
	uint64_t *pattern = map_anonymous(PAGES);
	void *memory;

	*file = make_file("/tmp", PAGES);
	pattern_write(pattern, PAGES, seed);
	EXPECT_EQ(pwrite(*file, pattern, PAGES * page_size(), 0), PAGES * page_size());
	memory = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE, flags, *file, 0);
	EXPECT(memory != MAP_FAILED);
	return memory;
}

static void expect_file(int file, uint64_t seed)
{
	uint64_t *copy = map_anonymous(PAGES);

	EXPECT_EQ(pread(file, copy, PAGES * page_size(), 0), PAGES * page_size());
	EXPECT_PATTERN(copy, PAGES, seed);
}

static void file_page(int dev)
{
	struct row row;
	int file;

	untouched(&row, dev, map_file(&file, 3, MAP_SHARED));
	device_reads(dev, row.memory, PAGES, 3);
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
	device_writes(dev, row.memory, PAGES, 4);
	expect_file(file, 4);
}

static void private_file_page(int dev)
{
	struct row row;
	int file;

	untouched(&row, dev, map_file(&file, 5, MAP_PRIVATE));
	device_reads(dev, row.memory, PAGES, 5);
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
	EXPECT_EQ(row_writable(&row), 0);
	/* The device's write breaks COW: a copy for us, the file as it was. */
	trace_clear();
	device_writes(dev, row.memory, PAGES, 6);
	row_look(&row);
	EXPECT_EQ(row_writable(&row), PAGES);
	EXPECT_PATTERN(row.memory, PAGES, 6);
	expect_file(file, 5);
}

static void shared_by_fork(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct row row;
	pid_t child;
	int go[2];
	char byte;

	pattern_write(memory, PAGES, 7);
	EXPECT(!pipe(go));
	child = fork();
	if (!child) {
		close(go[1]);
		EXPECT_EQ(read(go[0], &byte, 1), 0);
		EXPECT_PATTERN(memory, PAGES, 7);
		_exit(0);
	}
	untouched(&row, dev, memory);
	device_reads(dev, memory, PAGES, 7);
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
	EXPECT_EQ(row_writable(&row), 0);
	device_writes(dev, memory, PAGES, 8);
	row_look(&row);
	EXPECT_EQ(row_writable(&row), PAGES);
	EXPECT_PATTERN(memory, PAGES, 8);
	close(go[1]);
	EXPECT_EQ(wait_child(child), 0);
}

static void first_write(int dev)
{
	struct row row;

	untouched(&row, dev, map_anonymous(PAGES));
	device_writes(dev, row.memory, PAGES, 9);
	expect_granted(&row, "DEVICE_WFAULT", DEVMODEL_ACCESS_WRITE);
	EXPECT(row.device[PAGES - 1] & DEVMODEL_PAGE_DIRTY);
	EXPECT_PATTERN(row.memory, PAGES, 9);
}

static void write_refused(int dev)
{
	struct devmodel_wait end;
	struct row row;
	int result;

	untouched(&row, dev, map_anonymous(PAGES));
	pattern_write(row.memory, PAGES, 10);
	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_READ));
	device_reads(dev, row.memory, PAGES, 10);
	result = devmodel_run(dev, &end, "fill", row.memory, words(PAGES), 0);
	expect_fault(&end, result, row.memory, page_size(), DEVMODEL_ACCESS_WRITE);
	/* And no other event was traced. */
	expect_granted(&row, "DEVICE_RFAULT", DEVMODEL_ACCESS_READ);
	EXPECT_EQ(row_writable(&row), 0);
	EXPECT_PATTERN(row.memory, PAGES, 10);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "DEVICE_RFAULT of the zero page", .run = zero_page },
		{ .name = "DEVICE_RFAULT of a page of the CPU's", .run = written_by_cpu },
		{ .name = "DEVICE_RFAULT of a file page", .run = file_page },
		{ .name = "DEVICE_RFAULT of a private file page", .run = private_file_page },
		{ .name = "DEVICE_RFAULT of a page that fork shares", .run = shared_by_fork },
		{ .name = "DEVICE_WFAULT of untouched memory", .run = first_write },
		{ .name = "DEVICE_WFAULT refused on read-only memory", .run = write_refused },
	};

	return ktap_main(argc, argv, "The event table: device faults", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
