// SPDX-License-Identifier: MIT
/* Pages move to HBM and back, by request, by policy and by the CPU's touch; all that in bytes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define ANSWER		0x1122334455667788ULL

static bool cpu_reaches_hbm(int dev)
{
	return model_now(dev) != DEVMODEL_MODEL_PRIVATE;
}

/* The journey of one page, and one migration each way on the counters. */
static void one_page(int dev)
{
	struct devmodel_stats start = stats_now(dev), there, back;
	uint64_t *page = map_anonymous(1);
	struct devmodel_wait end;

	pattern_write(page, 1, 4);
	migrate_all(dev, page, 1, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, page, 1), 1);
	there = stats_now(dev);
	EXPECT_EQ(there.pages_to_device, start.pages_to_device + 1);
	EXPECT_EQ(there.hbm_bytes_in_use, start.hbm_bytes_in_use + page_size());
	EXPECT(there.bytes_to_device >= start.bytes_to_device + page_size());

	EXPECT_OK(devmodel_run(dev, &end, "fill", page + 1, 3, ANSWER));
	EXPECT_EQ(pages_in_hbm(dev, page, 1), 1);
	/* Working in its own memory costs the link nothing. */
	EXPECT_EQ(stats_now(dev).bytes_to_system, there.bytes_to_system);
	EXPECT_EQ(page[1], ANSWER);
	EXPECT_EQ(page[3], ANSWER);
	if (cpu_reaches_hbm(dev)) {
		EXPECT_EQ(pages_in_hbm(dev, page, 1), 1);
		EXPECT_EQ(stats_now(dev).pages_to_system, there.pages_to_system);
		migrate_all(dev, page, 1, DEVMODEL_TARGET_SYSTEM);
	}
	EXPECT_EQ(pages_in_hbm(dev, page, 1), 0);
	back = stats_now(dev);
	EXPECT_EQ(back.pages_to_device, start.pages_to_device + 1);
	EXPECT_EQ(back.pages_to_system, start.pages_to_system + 1);
	EXPECT_EQ(back.hbm_bytes_in_use, start.hbm_bytes_in_use);
	EXPECT_EQ(back.cpu_faults, start.cpu_faults + !cpu_reaches_hbm(dev));
	page[1] = page[2] = page[3] = 0;
	EXPECT_OK(devmodel_run(dev, &end, "sum", page + 1, 3));
	EXPECT_EQ(end.result[0], 0);
}

/* The device's BARs, from the kernel: the largest one. */
static uint64_t largest_bar(void)
{
	unsigned long long first, last, flags, largest = 0;
	char line[256];
	FILE *pipe = popen("for d in /sys/bus/pci/devices/*; do [ $(cat $d/vendor) = 0x1af4 ] && "
			   "[ $(cat $d/device) = 0x1110 ] && cat $d/resource; done", "r");

	EXPECT(pipe);
	while (fgets(line, sizeof(line), pipe))
		if (sscanf(line, "%llx %llx %llx", &first, &last, &flags) == 3 && last > first &&
		    last - first + 1 > largest)
			largest = last - first + 1;
	pclose(pipe);
	EXPECT(largest);
	return largest;
}

static void not_in_the_address_map(int dev)
{
	unsigned long long first, last, size, largest = 0;
	struct devmodel_info info;
	char line[256];
	FILE *iomem;

	EXPECT_OK(devmodel_info(dev, &info));
	EXPECT(info.hbm_bytes > largest_bar());
	/* Nothing that a PCI function decodes is large enough to be it. */
	iomem = fopen("/proc/iomem", "r");
	EXPECT(iomem);
	while (fgets(line, sizeof(line), iomem)) {
		if (!strchr(line, '.') || sscanf(line, "%llx-%llx", &first, &last) != 2)
			continue;
		size = last - first + 1;
		if (strstr(line, " : 0000:") && size > largest)
			largest = size;
	}
	fclose(iomem);
	EXPECT(largest < info.hbm_bytes);
}

static void there_and_back(int dev)
{
	size_t pages = 1200;
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_anonymous(pages), *other = map_anonymous(pages);
	struct devmodel_wait end;

	pattern_write(memory, pages, 6);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, memory, pages), pages);
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start.hbm_bytes_in_use + pages * page_size());
	EXPECT_OK(devmodel_run(dev, &end, "copy", other, memory, pages * page_size()));
	EXPECT_PATTERN(other, pages, 6);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_SYSTEM);
	now = stats_now(dev);
	EXPECT_EQ(now.hbm_bytes_in_use, start.hbm_bytes_in_use);
	EXPECT_EQ(now.pages_to_device, start.pages_to_device + pages);
	EXPECT_EQ(now.pages_to_system, start.pages_to_system + pages);
	EXPECT_EQ(now.cpu_faults, start.cpu_faults);
	EXPECT_PATTERN(memory, pages, 6);
}

static void twice(int dev)
{
	uint64_t *memory = map_anonymous(4);
	struct devmodel_migrate done;
	uint32_t outcomes[4];
	size_t i;

	pattern_write(memory, 4, 1);
	migrate_all(dev, memory + WORDS(1), 2, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_migrate(dev, memory, 4 * page_size(), DEVMODEL_TARGET_DEVICE, &done, outcomes));
	EXPECT_EQ(done.moved, 2);
	EXPECT_EQ(done.already, 2);
	EXPECT_EQ(done.failed, 0);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(outcomes[i], i == 1 || i == 2 ? DEVMODEL_OUTCOME_ALREADY_THERE :
							  DEVMODEL_OUTCOME_MOVED);
	EXPECT_PATTERN(memory, 4, 1);
}

static void empty_pages(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;

	migrate_all(dev, memory, 8, DEVMODEL_TARGET_DEVICE);
	now = stats_now(dev);
	EXPECT_EQ(now.pages_zeroed, start.pages_zeroed + 8);
	EXPECT_EQ(now.pages_to_device, start.pages_to_device + 8);
	EXPECT_EQ(now.bytes_to_device, start.bytes_to_device);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + 5, 1, 3));
	EXPECT_EQ(memory[5], 3);
	EXPECT_EQ(memory[6], 0);
	EXPECT_EQ(memory[WORDS(8) - 1], 0);
}

/* 0 anonymous, 1 hole, 2 shared, 3 file, 4 anonymous, 5 pinned, 6 PROT_NONE, 7 read-only. */
static void what_cannot_move(int dev)
{
	struct devmodel_stats start = stats_now(dev);
	size_t size = page_size(), i;
	uint8_t *memory = map_anonymous(8);
	struct devmodel_migrate done;
	uint32_t outcomes[8];
	struct iovec pin;
	int file = make_file("/tmp", 1), hold[2];

	memset(memory, 0x5a, 8 * size);
	EXPECT(!munmap(memory + size, size));
	EXPECT(mmap(memory + 2 * size, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory + 2 * size);
	EXPECT(mmap(memory + 3 * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
		    0) == memory + 3 * size);
	memset(memory + 2 * size, 0x5a, 2 * size);
	/* A page in a pipe has a reference that nobody can take away. */
	EXPECT(!pipe(hold));
	pin = (struct iovec) { memory + 5 * size, size };
	EXPECT_EQ(vmsplice(hold[1], &pin, 1, 0), size);
	EXPECT(!mprotect(memory + 6 * size, size, PROT_NONE));
	EXPECT(!mprotect(memory + 7 * size, size, PROT_READ));

	EXPECT_OK(devmodel_migrate(dev, memory, 8 * size, DEVMODEL_TARGET_DEVICE, &done, outcomes));
	for (i = 0; i < 8; i++)
		ktap_note("page %zu: %s", i, devmodel_outcome_name(outcomes[i]));
	EXPECT_EQ(done.moved + done.already + done.failed, 8);
	EXPECT_EQ(done.already, 0);
	EXPECT_EQ(outcomes[0], DEVMODEL_OUTCOME_MOVED);
	EXPECT_EQ(outcomes[1], DEVMODEL_OUTCOME_NOT_MIGRATABLE);
	EXPECT(outcomes[2] != DEVMODEL_OUTCOME_MOVED);
	EXPECT(outcomes[3] != DEVMODEL_OUTCOME_MOVED);
	EXPECT_EQ(outcomes[4], DEVMODEL_OUTCOME_MOVED);
	EXPECT(outcomes[5] != DEVMODEL_OUTCOME_MOVED);
	EXPECT_EQ(outcomes[7], DEVMODEL_OUTCOME_MOVED);
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start.hbm_bytes_in_use + done.moved * size);

	/* All bytes are what and where they were. */
	EXPECT(!mprotect(memory + 6 * size, size, PROT_READ));
	for (i = 0; i < 8; i++)
		if (i != 1)
			EXPECT(memory[i * size] == 0x5a && memory[i * size + size - 1] == 0x5a);
	EXPECT_OK(devmodel_migrate(dev, memory, 8 * size, DEVMODEL_TARGET_SYSTEM, &done, outcomes));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start.hbm_bytes_in_use);
	close(hold[0]);
	close(hold[1]);
	migrate_all(dev, memory + 5 * size, 1, DEVMODEL_TARGET_DEVICE);
}

static void on_touch(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;

	pattern_write(memory, 8, 3);
	EXPECT_OK(devmodel_advise(dev, memory + WORDS(2), 4 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	EXPECT_EQ(pages_in_hbm(dev, memory, 8), 4);
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(2), 4), 4);
	now = stats_now(dev);
	EXPECT_EQ(now.pages_to_device, start.pages_to_device + 4);
	EXPECT_PATTERN(memory, 8, 3);
	migrate_all(dev, memory, 8, DEVMODEL_TARGET_SYSTEM);
	/* The latest advice holds. */
	EXPECT_OK(devmodel_advise(dev, memory + WORDS(3), page_size(), DEVMODEL_POLICY_IN_PLACE));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(8), 9));
	EXPECT_EQ(pages_in_hbm(dev, memory, 8), 3);
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(3), 1), 0);
	EXPECT_EQ(memory[WORDS(8) - 1], 9);
	/* Memory that cannot move is reached in place for all the advice. */
	memory = map_shared(2);
	pattern_write(memory, 2, 8);
	EXPECT_OK(devmodel_advise(dev, memory, 2 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	EXPECT_EQ(pages_in_hbm(dev, memory, 2), 0);
	EXPECT_PATTERN(memory, 2, 8);
}

static void frames_come_back(int dev)
{
	uint64_t start = stats_now(dev).hbm_bytes_in_use;
	size_t size = page_size();
	uint8_t *memory = map_anonymous(32);
	struct devmodel_wait end;

	pattern_write(memory, 32, 2);
	migrate_all(dev, memory, 32, DEVMODEL_TARGET_DEVICE);
	EXPECT(!munmap(memory + 8 * size, 8 * size));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start + 24 * size);
	EXPECT(!madvise(memory + 16 * size, 8 * size, MADV_DONTNEED));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start + 16 * size);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory + 16 * size, WORDS(8)));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_PATTERN(memory, 8, 2);
	EXPECT(!munmap(memory, 32 * size));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start);
}

static void moved_in_hbm(int dev)
{
	size_t size = page_size();
	uint8_t *memory = map_anonymous(8), *there = map_anonymous(8);
	struct devmodel_wait end;

	pattern_write(memory, 8, 5);
	migrate_all(dev, memory, 8, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	EXPECT(mremap(memory, 8 * size, 8 * size, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
	EXPECT_EQ(pages_in_hbm(dev, there, 8), 8);
	EXPECT_EQ(devmodel_run(dev, &end, "sum", memory, 1), -1);
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
	EXPECT_OK(devmodel_run(dev, &end, "fill", there, 1, *(uint64_t *)there));
	EXPECT_PATTERN(there, 8, 5);
}

static void protected_in_hbm(int dev)
{
	uint64_t *memory = map_anonymous(4);
	struct devmodel_wait end;
	int result;

	pattern_write(memory, 4, 5);
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT(!mprotect(memory, 4 * page_size(), PROT_READ));
	result = devmodel_run(dev, &end, "fill", memory, 1, 0);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_WRITE);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_PATTERN(memory, 4, 5);
}

/* So many of @pages lie in HBM once the device has touched them all. */
static void expect_touched(int dev, uint64_t *memory, size_t pages, size_t in_hbm)
{
	struct devmodel_wait end;

	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(pages), 1));
	EXPECT_EQ(pages_in_hbm(dev, memory, pages), in_hbm);
}

static uint64_t *map_again(uint64_t *where, size_t pages)
{
	uint64_t *memory = mmap(where, pages * page_size(), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	EXPECT(memory == where);
	EXPECT(!madvise(memory, pages * page_size(), MADV_NOHUGEPAGE));
	return memory;
}

/* Whoever maps something else at the same addresses has not advised on it. */
static void advice_ends(int dev)
{
	uint64_t *memory = map_anonymous(16), *elsewhere = map_anonymous(16), *moved;

	EXPECT_OK(devmodel_advise(dev, memory, 16 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	EXPECT(!munmap(memory + WORDS(4), 4 * page_size()));
	map_again(memory + WORDS(4), 4);
	expect_touched(dev, memory, 4, 4);
	expect_touched(dev, memory + WORDS(4), 4, 0);
	expect_touched(dev, memory + WORDS(8), 8, 8);
	/* Mapping over it ends it, too; unmapping takes it from the rest of the range only. */
	map_again(memory, 2);
	expect_touched(dev, memory, 4, 2);
	/* What moves leaves it behind, and finds none where it comes to. */
	EXPECT_OK(devmodel_advise(dev, elsewhere, 16 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	moved = mremap(elsewhere, 16 * page_size(), 16 * page_size(),
		       MREMAP_MAYMOVE | MREMAP_FIXED, memory);
	EXPECT(moved == memory);
	expect_touched(dev, moved, 16, 0);
	map_again(elsewhere, 16);
	expect_touched(dev, elsewhere, 16, 0);
}

/* Advice on every other page, there, again, taken back and cut up. */
static void pieces_of_advice(int dev)
{
	uint64_t *memory = map_anonymous(512);
	size_t i;

	for (i = 0; i < 512; i += 2)
		EXPECT_OK(devmodel_advise(dev, memory + WORDS(i), page_size(),
					  DEVMODEL_POLICY_ON_TOUCH));
	expect_touched(dev, memory, 512, 256);
	migrate_all(dev, memory, 512, DEVMODEL_TARGET_SYSTEM);
	for (i = 1; i < 512; i += 2)
		EXPECT_OK(devmodel_advise(dev, memory + WORDS(i), page_size(),
					  DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_advise(dev, memory + WORDS(100), 50 * page_size(),
				  DEVMODEL_POLICY_IN_PLACE));
	EXPECT_OK(devmodel_advise(dev, memory + WORDS(120), page_size(),
				  DEVMODEL_POLICY_ON_TOUCH));
	expect_touched(dev, memory, 512, 512 - 49);
}

/* There is an end to what a process may say, and then it is told so. */
static void endless_advice(int dev)
{
	size_t pages = 3 * 65536, i;
	uint64_t *memory = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int ret = 0;

	EXPECT(memory != MAP_FAILED);
	for (i = 0; i < pages && !ret; i += 2)
		ret = devmodel_advise(dev, memory + WORDS(i), page_size(),
				      DEVMODEL_POLICY_ON_TOUCH);
	EXPECT(ret);
	EXPECT_EQ(errno, ENOSPC);
	EXPECT(i / 2 > 60000);
	/* What is taken back can be said again. */
	EXPECT(!munmap(memory, pages * page_size()));
	memory = map_anonymous(1);
	EXPECT_OK(devmodel_advise(dev, memory, page_size(), DEVMODEL_POLICY_ON_TOUCH));
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "the journey of one page", .run = one_page, .needs = KTAP_HBM },
		{ .name = "private HBM is not in the address map", .run = not_in_the_address_map,
		  .needs = KTAP_PRIVATE },
		{ .name = "1200 pages there and back", .run = there_and_back, .needs = KTAP_HBM },
		{ .name = "what is there already is told", .run = twice, .needs = KTAP_HBM },
		{ .name = "empty pages are not copied", .run = empty_pages, .needs = KTAP_HBM },
		{ .name = "what cannot move is told page by page", .run = what_cannot_move,
		  .needs = KTAP_HBM },
		{ .name = "policy on touch", .run = on_touch, .needs = KTAP_HBM },
		{ .name = "advice ends with its mapping", .run = advice_ends, .needs = KTAP_HBM },
		{ .name = "pieces of advice", .run = pieces_of_advice, .needs = KTAP_HBM },
		{ .name = "advice without end", .run = endless_advice },
		{ .name = "unmapped pages give their frames back", .run = frames_come_back,
		  .needs = KTAP_HBM },
		{ .name = "mremap of pages in HBM", .run = moved_in_hbm, .needs = KTAP_HBM },
		{ .name = "mprotect of pages in HBM", .run = protected_in_hbm, .needs = KTAP_HBM },
	};

	return ktap_main(argc, argv, "Pages move to HBM and back", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
