// SPDX-License-Identifier: MIT
/* See row.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "row.h"

#define UPDATES		64
#define KSM		"/sys/kernel/mm/ksm/"

size_t words(size_t pages)
{
	return pages * page_size() / sizeof(uint64_t);
}

void device_writes(int dev, void *address, size_t pages, uint64_t seed)
{
	void *scratch = map_anonymous(pages);
	struct devmodel_wait end;

	pattern_write(scratch, pages, seed);
	EXPECT_OK(devmodel_run(dev, &end, "copy", address, scratch, pages * page_size()));
	EXPECT(!munmap(scratch, pages * page_size()));
}

void device_reads(int dev, const void *address, size_t pages, uint64_t seed)
{
	void *scratch = map_anonymous(pages);
	struct devmodel_wait end;

	EXPECT_OK(devmodel_run(dev, &end, "copy", scratch, address, pages * page_size()));
	EXPECT_PATTERN(scratch, pages, seed);
	EXPECT(!munmap(scratch, pages * page_size()));
}

static void begin(struct row *row, int dev, void *memory, size_t pages)
{
	*row = (struct row) { .dev = dev, .memory = memory, .pages = pages, .seed = ROW_SEED };
	EXPECT(pages <= ROW_PAGES);
}

static void begun(struct row *row)
{
	row_look(row);
	EXPECT_EQ(row_readable(row), row->pages);
	row->before = stats_now(row->dev);
	trace_begin();
}

void row_begin(struct row *row, int dev, void *memory, size_t pages)
{
	begin(row, dev, memory, pages);
	device_writes(dev, memory, pages, row->seed);
	begun(row);
	EXPECT_EQ(row_writable(row), pages);
}

void row_begin_reading(struct row *row, int dev, void *memory, size_t pages)
{
	begin(row, dev, memory, pages);
	device_reads(dev, memory, pages, row->seed);
	begun(row);
}

void row_look(struct row *row)
{
	size_t i;

	EXPECT_OK(devmodel_snapshot(row->dev, row->memory, row->pages * page_size(), row->cpu,
				    row->device));
	for (i = 0; i < row->pages; i++) {
		uint32_t rights = DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE;
		uint32_t cpu = row->cpu[i], device = row->device[i];
		enum devmodel_place place = devmodel_place(cpu);

		if (device & rights & ~cpu)
			ktap_fail(__FILE__, __LINE__, "page %zu: the device may do more (0x%x) than the CPU (0x%x)",
				  i, device, cpu);
		if (!(device & DEVMODEL_PAGE_VALID))
			continue;
		/* To the device the zero page is a page like others. */
		if (place == DEVMODEL_PLACE_ZERO_PAGE)
			place = DEVMODEL_PLACE_SYSTEM;
		EXPECT_EQ(devmodel_place(device), place);
	}
}

static size_t with(const struct row *row, uint32_t bit)
{
	size_t i, count = 0;

	for (i = 0; i < row->pages; i++)
		count += !!(row->device[i] & bit);
	return count;
}

size_t row_readable(const struct row *row)
{
	return with(row, DEVMODEL_PAGE_VALID);
}

size_t row_writable(const struct row *row)
{
	return with(row, DEVMODEL_PAGE_WRITE);
}

void row_expect(struct row *row, const char *event, enum row_stays stays)
{
	size_t i, length = row->pages * page_size();
	struct trace_update found[UPDATES];
	size_t count = trace_updates(row->dev, row->memory, length, found, UPDATES);
	const struct trace_update *update;

	for (i = 0; i < count && i < UPDATES; i++)
		if (!strcmp(found[i].event, event))
			break;
	if (i == count || i == UPDATES) {
		trace_note();
		ktap_fail(__FILE__, __LINE__, "no %s was traced", event);
	}
	row->update = *(update = &found[i]);
	EXPECT_EQ(update->pte_mask != 0, stays == ROW_READING_STAYS);
	EXPECT(~update->pte_mask);
	EXPECT(update->valid_before);
	EXPECT_EQ(update->valid_after, stays == ROW_READING_STAYS ? update->valid_before : 0);
	EXPECT_EQ(update->writable_after, 0);
	/* What the device could still do with an old translation is over: it said so. */
	if (stays == ROW_NOTHING_STAYS || update->writable_before)
		EXPECT(trace_invalidates(row->dev, row->memory, length));
	row_look(row);
}

void row_expect_none(struct row *row)
{
	size_t length = row->pages * page_size();
	struct trace_update found[1];

	if (trace_updates(row->dev, row->memory, length, found, 1)) {
		trace_note();
		ktap_fail(__FILE__, __LINE__, "%s was traced", found[0].event);
	}
	EXPECT_EQ(trace_invalidates(row->dev, row->memory, length), 0);
	row_look(row);
	EXPECT_EQ(row_readable(row), row->pages);
}

void row_bytes(struct row *row)
{
	device_reads(row->dev, row->memory, row->pages, row->seed);
	EXPECT_PATTERN(row->memory, row->pages, row->seed);
}

uint64_t frame_of(const void *address)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	EXPECT(pagemap >= 0);
	EXPECT_EQ(pread(pagemap, &entry, sizeof(entry),
			(uintptr_t)address / page_size() * sizeof(entry)), sizeof(entry));
	close(pagemap);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

void merge_pages(void *one, void *other)
{
	struct timespec millisecond = { .tv_nsec = 1000000 };
	unsigned int tries;

	if (madvise(one, page_size(), MADV_MERGEABLE) || madvise(other, page_size(), MADV_MERGEABLE))
		ktap_skip("this kernel has no KSM");
	kernel_set(KSM "sleep_millisecs", "1");
	kernel_set(KSM "pages_to_scan", "1000");
	kernel_set(KSM "run", "1");
	for (tries = 0; frame_of(one) != frame_of(other) && tries < 20000; tries++)
		nanosleep(&millisecond, NULL);
	kernel_set(KSM "run", "0");
	EXPECT(frame_of(one) && frame_of(one) == frame_of(other));
}

void kernel_set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 && errno == ENOENT)
		ktap_skip("this kernel has no %s", path);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	close(fd);
}

void make_group(const char *path)
{
	rmdir(path);
	if (access(CONTROL_GROUP("cgroup.subtree_control"), F_OK))
		ktap_skip("this kernel has no control groups");
	if (mkdir(path, 0755))
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
}

uint64_t kernel_get(const char *path, const char *key)
{
	char line[256];
	FILE *file = fopen(path, "r");
	uint64_t number = 0;
	size_t length = key ? strlen(key) : 0;

	if (!file)
		ktap_skip("this kernel has no %s", path);
	while (fgets(line, sizeof(line), file)) {
		if (length && (strncmp(line, key, length) || line[length] != ' '))
			continue;
		number = strtoull(line + length, NULL, 0);
		break;
	}
	fclose(file);
	return number;
}
