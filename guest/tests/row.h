/* SPDX-License-Identifier: MIT */
/*
 * A row of the event table: memory that the device maps, something that
 * happens to it, and then what the trace, both page tables and the bytes say.
 *
 *	struct row row;
 *
 *	row_begin(&row, dev, map_anonymous(4), 4);
 *	EXPECT(!madvise(row.memory, 4 * page_size(), MADV_PAGEOUT));
 *	row_expect(&row, "MIGRATE", ROW_NOTHING_STAYS);
 *	row_bytes(&row);
 */
#ifndef _ROW_H
#define _ROW_H

#include "ktap.h"
#include "trace.h"

#define ROW_PAGES	512

/* What an event leaves the device: the table's pte_mask, 0 or ~WRITE. */
enum row_stays {
	ROW_NOTHING_STAYS,
	ROW_READING_STAYS,
};

struct row {
	int dev;
	uint64_t *memory;
	size_t pages;
	uint64_t seed;			/* of the pattern in it */
	struct devmodel_stats before;	/* when the device had mapped it */
	struct trace_update update;	/* what row_expect() found */
	uint32_t cpu[ROW_PAGES];	/* the kernel's page table, by row_look() */
	uint32_t device[ROW_PAGES];	/* the device's */
};

/* Words in so many pages. */
size_t words(size_t pages);

/*
 * The device writes a pattern to the memory, so it maps it with write; the
 * trace is empty from here on.
 */
void row_begin(struct row *row, int dev, void *memory, size_t pages);
/* The same for memory that holds the pattern of row_seed() and may only be read. */
void row_begin_reading(struct row *row, int dev, void *memory, size_t pages);
#define ROW_SEED	0x5eed

/* Look at both page tables, and see that the device's allows nothing that the kernel's does not. */
void row_look(struct row *row);
/* How many pages the device may read, or write, as row_look() saw it. */
size_t row_readable(const struct row *row);
size_t row_writable(const struct row *row);

/*
 * This event was traced for pages of the memory, with this mask; the device's
 * page table has lost just what the mask says, and the device acknowledged it.
 */
void row_expect(struct row *row, const char *event, enum row_stays stays);
/* No event at all was traced for the memory, and the device still maps it all. */
void row_expect_none(struct row *row);

/* The device, and then the CPU, read the pattern. */
void row_bytes(struct row *row);
/* The device reads the pattern. */
void device_reads(int dev, const void *address, size_t pages, uint64_t seed);
/* The device writes a pattern. */
void device_writes(int dev, void *address, size_t pages, uint64_t seed);

/* The physical frame of a page that is there; 0 if it is not. */
uint64_t frame_of(const void *address);
/* Have ksmd make one of two pages that hold the same bytes. */
void merge_pages(void *one, void *other);
/* Write a word to a file of the kernel's, or skip the test if there is no such file. */
void kernel_set(const char *path, const char *value);
/* A number from such a file, the one behind @key if that is given. */
uint64_t kernel_get(const char *path, const char *key);
/* Where a control group goes: init mounts them there, for memory too. */
#define CONTROL_GROUP(name)	"/sys/fs/cgroup/" name
/* Make one, away with what a test before left; skip the test if the kernel has none. */
void make_group(const char *path);

#endif /* _ROW_H */
