// SPDX-License-Identifier: MIT
/*
 * Huge pages on their way to private memory and back: whole where the kernel
 * can, in parts where it cannot or there is no room. The bytes are right either way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
/* Pages of a huge one, with page tables of 512 entries. */
#define HUGE		((size_t)512)

/* Private memory has huge pages since Linux 6.19. */
static bool goes_whole(void)
{
	struct utsname name;
	int major, minor;

	EXPECT(!uname(&name));
	EXPECT_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
	return major > 6 || (major == 6 && minor >= 19);
}

/* An aligned range that becomes @count huge pages when it is touched. */
static void *map_huge(size_t count)
{
	size_t size = HUGE * page_size();
	uintptr_t start = ((uintptr_t)map_anonymous((count + 1) * HUGE) + size - 1) & ~(size - 1);

	if (madvise((void *)start, count * size, MADV_HUGEPAGE))
		ktap_skip("the kernel has no transparent huge pages");
	return (void *)start;
}

/* How many pages of a range the kernel maps as parts of huge ones, at @place. */
static size_t huge_at(int dev, const void *address, size_t pages, enum devmodel_place place)
{
	uint32_t *cpu = calloc(2 * pages, sizeof(*cpu)), *device = cpu + pages;
	size_t i, found = 0;

	EXPECT(cpu);
	EXPECT_OK(devmodel_snapshot(dev, address, pages * page_size(), cpu, device));
	for (i = 0; i < pages; i++)
		found += (cpu[i] & DEVMODEL_PAGE_HUGE) && devmodel_place(cpu[i]) == place;
	free(cpu);
	return found;
}

/* What is in system memory must be huge, or there is nothing to test. */
static void expect_huge(int dev, const void *address, size_t pages)
{
	EXPECT_EQ(huge_at(dev, address, pages, DEVMODEL_PLACE_SYSTEM), pages);
}

static void expect_whole_in_hbm(int dev, const void *address, size_t pages)
{
	EXPECT_EQ(pages_in_hbm(dev, address, pages), pages);
	EXPECT_EQ(huge_at(dev, address, pages, DEVMODEL_PLACE_HBM), goes_whole() ? pages : 0);
}

/* Does the device reach the range through one entry? */
static bool huge_leaf(int dev, const void *address)
{
	uint32_t cpu[1], device[1];

	EXPECT_OK(devmodel_snapshot(dev, address, page_size(), cpu, device));
	return device[0] & DEVMODEL_PAGE_HUGE;
}

static void there_and_back(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_huge(2), *copy = map_anonymous(2 * HUGE);
	struct devmodel_wait end;

	pattern_write(memory, 2 * HUGE, 1);
	expect_huge(dev, memory, 2 * HUGE);
	migrate_all(dev, memory, 2 * HUGE, DEVMODEL_TARGET_DEVICE);
	expect_whole_in_hbm(dev, memory, 2 * HUGE);
	now = stats_now(dev);
	EXPECT_EQ(now.pages_to_device, start.pages_to_device + 2 * HUGE);
	EXPECT_EQ(now.pages_failed, start.pages_failed);
	EXPECT_EQ(now.hbm_bytes_in_use, start.hbm_bytes_in_use + 2 * HUGE * page_size());
	EXPECT_OK(devmodel_run(dev, &end, "copy", copy, memory, 2 * HUGE * page_size()));
	EXPECT_PATTERN(copy, 2 * HUGE, 1);
	EXPECT_EQ(huge_leaf(dev, memory + WORDS(HUGE + 7)), goes_whole());
	migrate_all(dev, memory, 2 * HUGE, DEVMODEL_TARGET_SYSTEM);
	EXPECT_EQ(huge_at(dev, memory, 2 * HUGE, DEVMODEL_PLACE_SYSTEM),
		  goes_whole() ? 2 * HUGE : 0);
	now = stats_now(dev);
	EXPECT_EQ(now.pages_to_system, start.pages_to_system + 2 * HUGE);
	EXPECT_EQ(now.hbm_bytes_in_use, start.hbm_bytes_in_use);
	EXPECT_EQ(now.cpu_faults, start.cpu_faults);
	EXPECT_PATTERN(memory, 2 * HUGE, 1);
}

static void one_touch_brings_all(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_huge(1);
	struct devmodel_wait end;

	pattern_write(memory, HUGE, 2);
	memory[WORDS(300)] = 70;
	migrate_all(dev, memory, HUGE, DEVMODEL_TARGET_DEVICE);
	/* An atomic first: that is a fault of its own kind. */
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + WORDS(300), 6, 1));
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory + WORDS(300), 1));
	EXPECT_EQ(end.result[0], 76);
	EXPECT_EQ(memory[WORDS(300)], 76);
	if (goes_whole()) {
		EXPECT_EQ(pages_in_hbm(dev, memory, HUGE), 0);
		expect_huge(dev, memory, HUGE);
		now = stats_now(dev);
		EXPECT_EQ(now.cpu_faults, start.cpu_faults + 1);
		EXPECT_EQ(now.pages_to_system, start.pages_to_system + HUGE);
	}
	memory[WORDS(300)] = 0;
	pattern_write(memory + WORDS(300), 1, 3);
	EXPECT_PATTERN(memory, 300, 2);
	EXPECT_PATTERN(memory + WORDS(300), 1, 3);
}

static void empty_ranges(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_huge(2);
	struct devmodel_wait end;
	volatile uint64_t word;

	/* Reading maps the huge zero page, which is as empty as nothing. */
	word = memory[WORDS(HUGE)];
	EXPECT_EQ(word, 0);
	migrate_all(dev, memory, 2 * HUGE, DEVMODEL_TARGET_DEVICE);
	expect_whole_in_hbm(dev, memory, 2 * HUGE);
	now = stats_now(dev);
	EXPECT_EQ(now.pages_zeroed, start.pages_zeroed + 2 * HUGE);
	EXPECT_EQ(now.bytes_to_device, start.bytes_to_device);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(2 * HUGE)));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + 5, 1, 3));
	EXPECT_EQ(memory[5], 3);
	EXPECT_EQ(memory[6], 0);
	EXPECT_EQ(memory[WORDS(2 * HUGE) - 1], 0);
}

/* A range that is no whole huge page takes a part of one. */
static void a_part_goes(int dev)
{
	uint64_t *memory = map_huge(1);

	pattern_write(memory, HUGE, 4);
	expect_huge(dev, memory, HUGE);
	migrate_all(dev, memory + WORDS(100), 50, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, memory, HUGE), 50);
	EXPECT_PATTERN(memory, HUGE, 4);
	pattern_write(memory, HUGE, 5);
	migrate_all(dev, memory, HUGE, DEVMODEL_TARGET_DEVICE);
	/* And a part comes back. */
	migrate_all(dev, memory + WORDS(500), 12, DEVMODEL_TARGET_SYSTEM);
	EXPECT_EQ(pages_in_hbm(dev, memory, HUGE), 500);
	EXPECT_PATTERN(memory, HUGE, 5);
}

/* A touch of a part of it brings a huge page as a whole, where that can be. */
static void on_touch(int dev)
{
	uint64_t *memory = map_huge(2);
	struct devmodel_wait end;

	pattern_write(memory, 2 * HUGE, 15);
	expect_huge(dev, memory, 2 * HUGE);
	/* All of the first, but not all of the second. */
	EXPECT_OK(devmodel_advise(dev, memory, (HUGE + 100) * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + WORDS(200), 1, memory[WORDS(200)]));
	EXPECT_EQ(pages_in_hbm(dev, memory, HUGE), goes_whole() ? HUGE : 1);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + WORDS(HUGE), 1, memory[WORDS(HUGE)]));
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(HUGE), HUGE), 1);
	EXPECT_PATTERN(memory, 2 * HUGE, 15);
}

/* The mapping comes apart while the page is in HBM. */
static void taken_apart(int dev)
{
	uint64_t start = stats_now(dev).hbm_bytes_in_use, *memory = map_huge(4), *there;
	size_t size = page_size();

	pattern_write(memory, 4 * HUGE, 6);
	migrate_all(dev, memory, 4 * HUGE, DEVMODEL_TARGET_DEVICE);
	/* A hole in the first, a piece of the second read-only, of the third gone, the last moved. */
	EXPECT(!munmap(memory + WORDS(10), 10 * size));
	EXPECT(!mprotect(memory + WORDS(HUGE + 10), 10 * size, PROT_READ));
	EXPECT(!madvise(memory + WORDS(2 * HUGE + 10), 10 * size, MADV_DONTNEED));
	there = map_anonymous(HUGE);
	EXPECT(mremap(memory + WORDS(3 * HUGE), HUGE * size, HUGE * size,
		      MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
	EXPECT_EQ(pages_in_hbm(dev, there, HUGE), HUGE);
	/* Compare with what was written, piece by piece. */
	EXPECT_PATTERN(memory, 10, 6);
	EXPECT_EQ(memory[WORDS(2 * HUGE + 10)], 0);
	EXPECT_EQ(memory[WORDS(2 * HUGE + 20) - 1], 0);
	pattern_write(memory + WORDS(2 * HUGE + 10), 10, 7);
	EXPECT_PATTERN(memory + WORDS(2 * HUGE + 10), 10, 7);
	memcpy(memory + WORDS(3 * HUGE - 1), there, size);
	migrate_all(dev, memory + WORDS(HUGE), HUGE, DEVMODEL_TARGET_DEVICE);
	migrate_all(dev, memory + WORDS(HUGE), HUGE, DEVMODEL_TARGET_SYSTEM);
	EXPECT(!munmap(memory, 3 * HUGE * size));
	EXPECT(!munmap(there, HUGE * size));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start);
}

static void shared_by_a_fork(int dev)
{
	uint64_t *memory = map_huge(1), *again = map_huge(1);
	struct devmodel_wait end;
	int child;

	pattern_write(memory, HUGE, 8);
	pattern_write(again, HUGE, 9);
	migrate_all(dev, memory, HUGE, DEVMODEL_TARGET_DEVICE);
	migrate_all(dev, again, HUGE, DEVMODEL_TARGET_DEVICE);
	child = fork();
	EXPECT(child >= 0);
	if (!child) {
		/* The one it reads, the other it writes. */
		if (pattern_wrong(memory, HUGE, 8) >= 0)
			_exit(1);
		again[0]++;
		_exit(again[WORDS(HUGE) - 1] ? 0 : 2);
	}
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + WORDS(9), 1, 5));
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_PATTERN(memory, 9, 8);
	EXPECT_EQ(memory[WORDS(9)], 5);
	EXPECT_PATTERN(again, HUGE, 9);
	migrate_all(dev, again, HUGE, DEVMODEL_TARGET_DEVICE);
	EXPECT_PATTERN(again, HUGE, 9);
}

/* Shared with a child that stays, a huge page finds room for small pages only. */
static void no_room_for_a_huge_one(int dev)
{
	size_t all = stats_now(dev).hbm_bytes / page_size(), i;
	uint64_t *filler = map_anonymous(all), *memory = map_huge(1);
	int child, hold[2];
	char byte;

	EXPECT(!madvise(filler, all * page_size(), MADV_NOHUGEPAGE));
	migrate_all(dev, filler, all, DEVMODEL_TARGET_DEVICE);
	for (i = 0; i < all; i += 2)
		EXPECT(!madvise(filler + WORDS(i), page_size(), MADV_DONTNEED));
	pattern_write(memory, HUGE, 10);
	expect_huge(dev, memory, HUGE);
	EXPECT(!pipe(hold));
	child = fork();
	EXPECT(child >= 0);
	if (!child) {
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) || pattern_wrong(memory, HUGE, 10) >= 0);
	}
	migrate_all(dev, memory, HUGE, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, memory, HUGE), HUGE);
	EXPECT_EQ(huge_at(dev, memory, HUGE, DEVMODEL_PLACE_HBM), 0);
	close(hold[1]);
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_PATTERN(memory, HUGE, 10);
	/* Where there is room again, it is used whole. */
	EXPECT(!munmap(filler, all * page_size()));
	memory = map_huge(1);
	pattern_write(memory, HUGE, 11);
	migrate_all(dev, memory, HUGE, DEVMODEL_TARGET_DEVICE);
	expect_whole_in_hbm(dev, memory, HUGE);
	EXPECT_PATTERN(memory, HUGE, 11);
}

/* Huge pages go when there is no room, small ones after huge ones and the other way round. */
static void evicted(int dev)
{
	size_t count = 2 * stats_now(dev).hbm_bytes / page_size() / HUGE, i;
	uint64_t evicted = stats_now(dev).pages_evicted;
	uint64_t *huge = map_huge(count), *small = map_anonymous(count * HUGE);
	struct devmodel_wait end;

	EXPECT(!madvise(small, count * HUGE * page_size(), MADV_NOHUGEPAGE));
	pattern_write(huge, count * HUGE, 12);
	pattern_write(small, count * HUGE, 13);
	for (i = 0; i < count; i++) {
		migrate_all(dev, huge + WORDS(i * HUGE), HUGE, DEVMODEL_TARGET_DEVICE);
		EXPECT_OK(devmodel_run(dev, &end, "sum", huge + WORDS(i * HUGE), 1));
		if (i % 3 == 2)
			migrate_all(dev, small + WORDS(i * HUGE), HUGE, DEVMODEL_TARGET_DEVICE);
	}
	EXPECT(stats_now(dev).pages_evicted >= evicted + (count / 2) * HUGE);
	EXPECT_PATTERN(huge, count * HUGE, 12);
	EXPECT_PATTERN(small, count * HUGE, 13);
}

/* lib/test_hmm_uapi.h: the next page that a migration wants is not to be had. */
static void fail_next_allocation(void)
{
	struct {
		uint64_t addr, ptr, npages, cpages, faults;
	} request = { .npages = 1 };
	int child = fork();

	EXPECT(child >= 0);
	if (!child) {
		int dmirror = open("/dev/hmm_dmirror0", O_RDWR);

		_exit(dmirror < 0 || ioctl(dmirror, _IOWR('H', 0x08, request), &request));
	}
	EXPECT_EQ(wait_child(child), 0);
}

/* A CPU touches a huge page, and system memory has no huge page for it. */
static void no_huge_page_to_come_back_to(int dev)
{
	uint64_t *memory;

	if (!goes_whole())
		ktap_skip("this kernel takes huge pages apart on their way to the device");
	if (access("/dev/hmm_dmirror0", F_OK))
		ktap_skip("the driver is not loaded with dmirror=1");
	memory = map_huge(2);
	pattern_write(memory, 2 * HUGE, 14);
	migrate_all(dev, memory, 2 * HUGE, DEVMODEL_TARGET_DEVICE);
	fail_next_allocation();
	EXPECT(memory[WORDS(3)]);
	EXPECT(pages_in_hbm(dev, memory, HUGE) < HUGE);
	/* On 7.2 the kernel splits it, and that page alone comes. */
	EXPECT_EQ(huge_at(dev, memory, HUGE, DEVMODEL_PLACE_HBM), 0);
	fail_next_allocation();
	migrate_all(dev, memory + WORDS(HUGE), HUGE, DEVMODEL_TARGET_SYSTEM);
	EXPECT_PATTERN(memory, 2 * HUGE, 14);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "huge pages there and back", .run = there_and_back, .needs = KTAP_PRIVATE },
		{ .name = "one touch brings a huge page", .run = one_touch_brings_all,
		  .needs = KTAP_PRIVATE },
		{ .name = "empty huge ranges", .run = empty_ranges, .needs = KTAP_PRIVATE },
		{ .name = "a part of a huge page", .run = a_part_goes, .needs = KTAP_PRIVATE },
		{ .name = "a huge page on touch", .run = on_touch, .needs = KTAP_PRIVATE },
		{ .name = "huge pages in HBM are taken apart", .run = taken_apart,
		  .needs = KTAP_PRIVATE },
		{ .name = "huge pages in HBM and a fork", .run = shared_by_a_fork,
		  .needs = KTAP_PRIVATE },
		{ .name = "no huge page to come back to", .run = no_huge_page_to_come_back_to,
		  .needs = KTAP_PRIVATE },
		{ .name = "no room for a huge page", .run = no_room_for_a_huge_one,
		  .needs = KTAP_SMALL },
		{ .name = "huge pages are evicted", .run = evicted, .needs = KTAP_SMALL },
	};

	return ktap_main(argc, argv, "Huge pages and private memory", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
