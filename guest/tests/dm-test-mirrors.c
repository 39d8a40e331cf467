// SPDX-License-Identifier: MIT
/* One process on two devices: each has a page table, rights and events of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"

#define PAGES	4

/* How often an event was traced for the mirrors of a device. */
static size_t traced(const char *event, int number)
{
	char text[32];

	snprintf(text, sizeof(text), "device=%d ", number);
	return trace_count_with(event, text);
}

/* The number of the last device. */
static int last_number(void)
{
	char path[32];
	int number = 0;

	do
		snprintf(path, sizeof(path), "/dev/devmodel%d", number + 1);
	while (!access(path, F_OK) && ++number);
	return number;
}

static void seen(int dev, const void *memory, uint32_t *cpu, uint32_t *device)
{
	EXPECT_OK(devmodel_snapshot(dev, memory, PAGES * page_size(), cpu, device));
}

/* Events go to the devices that map the range, to both if both do. */
static void events_go_where_the_range_is(int dev)
{
	uint64_t *mine = map_anonymous(PAGES), *its = map_anonymous(PAGES);
	uint64_t *both = map_anonymous(PAGES);
	struct devmodel_stats before[2];
	int other = open_last();
	struct row row, second;

	device_writes(dev, mine, PAGES, 1);
	device_writes(other, its, PAGES, 2);
	device_writes(dev, both, PAGES, ROW_SEED);
	device_writes(other, both, PAGES, ROW_SEED);
	trace_begin();
	before[0] = stats_now(dev);
	before[1] = stats_now(other);

	EXPECT(!mprotect(its, PAGES * page_size(), PROT_READ));
	EXPECT_EQ(trace_updates(dev, its, PAGES * page_size(), NULL, 0), 0);
	EXPECT_EQ(trace_updates(other, its, PAGES * page_size(), NULL, 0), 1);
	EXPECT_EQ(stats_now(dev).my_invalidates, before[0].my_invalidates);
	EXPECT_EQ(stats_now(other).my_invalidates, before[1].my_invalidates + 1);

	EXPECT(!mprotect(mine, PAGES * page_size(), PROT_READ));
	EXPECT_EQ(trace_updates(other, mine, PAGES * page_size(), NULL, 0), 0);
	EXPECT_EQ(stats_now(dev).my_invalidates, before[0].my_invalidates + 1);
	EXPECT_EQ(stats_now(other).my_invalidates, before[1].my_invalidates + 1);

	row = (struct row) { .dev = dev, .memory = both, .pages = PAGES };
	second = (struct row) { .dev = other, .memory = both, .pages = PAGES };
	EXPECT(!mprotect(both, PAGES * page_size(), PROT_READ));
	row_expect(&row, "WRITE_PROTECT", ROW_READING_STAYS);
	row_expect(&second, "WRITE_PROTECT", ROW_READING_STAYS);
	device_reads(dev, both, PAGES, ROW_SEED);
	device_reads(other, both, PAGES, ROW_SEED);
}

/* At the same moment one device may write a page, and the other only read it, or nothing. */
static void rights_of_their_own(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	uint32_t cpu[PAGES], device[PAGES];
	int other = open_last();
	struct devmodel_wait end;

	device_writes(dev, memory, PAGES, 3);
	seen(other, memory, cpu, device);
	EXPECT_EQ(device[0], 0);
	device_reads(other, memory, 1, 3);
	seen(dev, memory, cpu, device);
	EXPECT(device[0] & DEVMODEL_PAGE_WRITE);
	EXPECT(device[1] & DEVMODEL_PAGE_WRITE);
	seen(other, memory, cpu, device);
	EXPECT(device[0] & DEVMODEL_PAGE_VALID);
	EXPECT_EQ(device[1], 0);
	/* Memory of a process is one: what one device writes, the other reads. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, 55));
	EXPECT_OK(devmodel_run(other, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], 55);
}

/* A page that goes to one device's HBM goes from the other, which has it fetched back. */
static void taken_by_the_other(int dev)
{
	int other = open_last();
	struct row row;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	migrate_all(other, row.memory, PAGES, DEVMODEL_TARGET_DEVICE);
	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
	EXPECT_EQ(pages_in_hbm(dev, row.memory, PAGES), 0);
	EXPECT_EQ(pages_in_hbm(other, row.memory, PAGES), PAGES);
	row_bytes(&row);
	device_reads(other, row.memory, PAGES, ROW_SEED);
}

/* One mirror ends, the other goes on. */
static void close_one(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	int other = open_last();

	device_writes(dev, memory, PAGES, 4);
	device_writes(other, memory, PAGES, 5);
	trace_begin();
	devmodel_close(other);
	EXPECT_EQ(traced("devmodel_release", last_number()), 1);
	EXPECT_EQ(traced("devmodel_release", 0), 0);
	device_reads(dev, memory, PAGES, 5);
	other = open_last();
	device_reads(other, memory, PAGES, 5);
}

/* Two mirrors of one process, both released when it ends, each once. */
static void both_released(int dev)
{
	pid_t child;

	(void)dev;
	trace_begin();
	child = fork();
	if (!child) {
		uint64_t *memory = map_anonymous(PAGES);

		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		device_writes(dev, memory, PAGES, 6);
		device_writes(open_last(), memory, PAGES, 7);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_EQ(traced("devmodel_register", 0), 1);
	EXPECT_EQ(traced("devmodel_register", last_number()), 1);
	EXPECT_EQ(traced("devmodel_release", 0), 1);
	EXPECT_EQ(traced("devmodel_release", last_number()), 1);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "events go where the range is mapped", .run = events_go_where_the_range_is,
		  .needs = KTAP_PEERS },
		{ .name = "each device has rights of its own", .run = rights_of_their_own,
		  .needs = KTAP_PEERS },
		{ .name = "a page taken by the other device", .run = taken_by_the_other,
		  .needs = KTAP_PEERS },
		{ .name = "one mirror ends, the other goes on", .run = close_one, .needs = KTAP_PEERS },
		{ .name = "exit releases the mirrors on both devices", .run = both_released,
		  .needs = KTAP_PEERS },
	};

	return ktap_main(argc, argv, "One process on two devices", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
