// SPDX-License-Identifier: MIT
/* What happens to a mapping, the device sees at once: never a stale page, never a forbidden write. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define ANSWER		0x1122334455667788ULL
/* More adds than a test waits for: the program is still running. */
#define FOR_EVER	1000000000000ULL

static void read_only(int dev)
{
	uint64_t *memory = map_anonymous(4);
	struct devmodel_wait end;
	int result;

	pattern_write(memory, 4, 9);
	/* Once with a device page table that already says "writable", once without. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	EXPECT_EQ(mprotect(memory, 4 * page_size(), PROT_READ), 0);
	result = devmodel_run(dev, &end, "fill", memory, 1, 0);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_WRITE);
	result = devmodel_run(dev, &end, "atomic_add", memory + WORDS(3), 1, 1);
	expect_fault(&end, result, memory + WORDS(3), page_size(), DEVMODEL_ACCESS_ATOMIC);
	EXPECT_PATTERN(memory, 4, 9);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(4)));
	EXPECT_EQ(mprotect(memory, 4 * page_size(), PROT_READ | PROT_WRITE), 0);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(4), ANSWER));
	EXPECT_EQ(memory[WORDS(4) - 1], ANSWER);
}

static void no_access(int dev)
{
	uint64_t *memory = map_anonymous(1);
	struct devmodel_wait end;
	int result;

	memory[0] = 5;
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(mprotect(memory, page_size(), PROT_NONE), 0);
	result = devmodel_run(dev, &end, "sum", memory, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_READ);
	EXPECT_EQ(mprotect(memory, page_size(), PROT_READ), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], 5);
}

/* Start a program that adds 1 to a word for ever, and see it at work. */
static int64_t start_adding(int dev, volatile uint64_t *word)
{
	int64_t handle = devmodel_launch(dev, "atomic_add", word, FOR_EVER, 1);
	struct devmodel_wait end;
	unsigned int tries;

	EXPECT_OK(handle);
	for (tries = 0; !*word && tries < 10000; tries++)
		EXPECT_ERRNO(devmodel_wait(dev, handle, 1, &end), ETIME);
	EXPECT(*word);
	return handle;
}

static void protect_while_running(int dev)
{
	volatile uint64_t *word = map_anonymous(1);
	int64_t handle = start_adding(dev, word);
	struct devmodel_wait end;
	uint64_t then;

	EXPECT_EQ(mprotect((void *)word, page_size(), PROT_READ), 0);
	/* From here on the device cannot write. */
	then = *word;
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
	EXPECT_EQ(end.fault_access, DEVMODEL_ACCESS_ATOMIC);
	EXPECT_EQ(end.fault_address & -page_size(), (uintptr_t)word);
	EXPECT_EQ(*word, then);
}

static void unmap_while_running(int dev)
{
	volatile uint64_t *word = map_anonymous(1), *again;
	int64_t handle = start_adding(dev, word);
	struct devmodel_wait end;

	EXPECT_EQ(munmap((void *)word, page_size()), 0);
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
	EXPECT_EQ(end.fault_address & -page_size(), (uintptr_t)word);
	/* What is mapped there next is not the device's business. */
	again = mmap((void *)word, page_size(), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	EXPECT(again == word);
	EXPECT_EQ(*again, 0);
}

/* The page goes, another comes at once: the program goes on there and nothing is stale. */
static void remap_while_running(int dev)
{
	volatile uint64_t *word = map_anonymous(1);
	int64_t handle = start_adding(dev, word);
	struct devmodel_wait end;
	unsigned int i, tries;

	for (i = 0; i < 50; i++) {
		EXPECT(mmap((void *)word, page_size(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == word);
		for (tries = 0; !*word && tries < 1000; tries++)
			if (!devmodel_wait(dev, handle, 1, &end))
				break;
		/* Between unmap and map there is a moment in which the fault is real. */
		if (tries < 1000 && !*word) {
			EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
			handle = start_adding(dev, word);
		}
		EXPECT(*word);
	}
	EXPECT_EQ(munmap((void *)word, page_size()), 0);
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
}

static void discarded(int dev)
{
	uint64_t *memory = map_anonymous(4);
	struct devmodel_wait end;

	pattern_write(memory, 4, 1);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(4), ANSWER));
	EXPECT_EQ(madvise(memory, 4 * page_size(), MADV_DONTNEED), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(4)));
	EXPECT_EQ(end.result[0], 0);
}

static void moved(int dev)
{
	uint64_t *memory = map_anonymous(4), *there = map_anonymous(4);
	struct devmodel_wait end;
	int result;

	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(4), 3));
	EXPECT(mremap(memory, 4 * page_size(), 4 * page_size(), MREMAP_MAYMOVE | MREMAP_FIXED,
		      there) == there);
	EXPECT_OK(devmodel_run(dev, &end, "sum", there, WORDS(4)));
	EXPECT_EQ(end.result[0], 3 * WORDS(4));
	result = devmodel_run(dev, &end, "sum", memory, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_READ);
}

/* Give a whole huge page, filled by the device, back by way of its table pages. */
static void huge_page(int dev)
{
	size_t huge = 2 << 20, pages = huge / page_size();
	uint8_t *memory = map_anonymous(2 * pages);
	uint64_t *aligned = (uint64_t *)(((uintptr_t)memory + huge - 1) & -huge);
	uint32_t *cpu = calloc(pages, sizeof(*cpu)), *device = calloc(pages, sizeof(*device));
	struct devmodel_wait end;

	if (madvise(aligned, huge, MADV_HUGEPAGE))
		ktap_skip("the kernel has no transparent huge pages");
	pattern_write(aligned, pages, 5);
	EXPECT_OK(devmodel_run(dev, &end, "fill", aligned, 1, aligned[0]));
	EXPECT_OK(devmodel_snapshot(dev, aligned, huge, cpu, device));
	if (!(cpu[0] & DEVMODEL_PAGE_HUGE))
		ktap_skip("the kernel gave no huge page");
	EXPECT(device[0] & DEVMODEL_PAGE_VALID);
	EXPECT_OK(devmodel_run(dev, &end, "fill", aligned + WORDS(pages) - 1, 1, ANSWER));
	EXPECT_EQ(aligned[WORDS(pages) - 1], ANSWER);
	EXPECT_EQ(madvise(aligned, page_size(), MADV_DONTNEED), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", aligned, WORDS(1)));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", aligned + WORDS(pages) - 1, 1));
	EXPECT_EQ(end.result[0], ANSWER);
}

static void snapshot(int dev)
{
	uint8_t *memory = map_anonymous(6);
	uint32_t cpu[6], device[6];
	struct devmodel_wait end;

	/* 0: written by both, 1: read by the device, 2: by the CPU only, 3: nobody, 4: read-only. */
	memory[0] = 1;
	memory[2 * page_size()] = 1;
	memory[4 * page_size()] = 1;
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, 1));
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory + page_size(), 1));
	EXPECT_EQ(mprotect(memory + 4 * page_size(), page_size(), PROT_READ), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory + 4 * page_size(), 1));
	EXPECT_EQ(munmap(memory + 5 * page_size(), page_size()), 0);
	EXPECT_OK(devmodel_snapshot(dev, memory, 6 * page_size(), cpu, device));

	EXPECT_EQ(cpu[0], DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE |
		  DEVMODEL_PLACE_SYSTEM << DEVMODEL_PLACE_SHIFT);
	EXPECT_EQ(device[0], DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE | DEVMODEL_PAGE_ACCESSED |
		  DEVMODEL_PAGE_DIRTY | DEVMODEL_PLACE_SYSTEM << DEVMODEL_PLACE_SHIFT);
	EXPECT_EQ(devmodel_place(cpu[1]), DEVMODEL_PLACE_ZERO_PAGE);
	EXPECT_EQ(device[1] & (DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE | DEVMODEL_PAGE_DIRTY),
		  DEVMODEL_PAGE_VALID);
	EXPECT_EQ(device[2], 0);
	EXPECT_EQ(cpu[3], 0);
	EXPECT_EQ(device[3], 0);
	EXPECT_EQ(cpu[4] & (DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE), DEVMODEL_PAGE_VALID);
	EXPECT_EQ(device[4] & (DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE), DEVMODEL_PAGE_VALID);
	EXPECT_EQ(cpu[5], 0);
	EXPECT_EQ(device[5], 0);
}

static void tables_come_back(int dev)
{
	uint64_t before, *memory;
	struct devmodel_wait end;
	size_t i;

	/* In a place of its own, so that the tables below it are nobody else's. */
	memory = mmap((void *)0x200000000000, 3UL << 30, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	EXPECT(memory != MAP_FAILED);
	/* A huge page has one table less. */
	madvise(memory, 3UL << 30, MADV_NOHUGEPAGE);
	before = stats_now(dev).my_page_table_pages;
	for (i = 0; i < 3; i++)
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory + (i << 27), 1, i));
	EXPECT(stats_now(dev).my_page_table_pages >= before + 6);
	EXPECT_EQ(munmap(memory, 3UL << 30), 0);
	EXPECT_EQ(stats_now(dev).my_page_table_pages, before);
}

struct disturber {
	uint8_t *memory;
	atomic_bool stop;
	uint64_t events;
};

/* Events all the time, on memory that the device has nothing to do with. */
static void *disturb(void *argument)
{
	struct disturber *disturber = argument;
	size_t size = page_size();

	while (!atomic_load(&disturber->stop)) {
		mprotect(disturber->memory, size, PROT_READ);
		mprotect(disturber->memory, size, PROT_READ | PROT_WRITE);
		madvise(disturber->memory + size, size, MADV_DONTNEED);
		disturber->memory[size] = 1;
		disturber->events += 3;
	}
	return NULL;
}

static void faults_amid_events(int dev)
{
	enum { PAGES = 400 };
	struct disturber disturber = { .memory = map_anonymous(2) };
	uint64_t *memory = map_anonymous(PAGES);
	struct devmodel_wait end;
	pthread_t thread;
	size_t i;

	EXPECT(!pthread_create(&thread, NULL, disturb, &disturber));
	for (i = 0; i < PAGES; i++)
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory + i * WORDS(1), WORDS(1), i));
	EXPECT_OK(devmodel_run(dev, &end, "sum", map_anonymous(PAGES), WORDS(PAGES)));
	EXPECT_EQ(end.result[0], 0);
	atomic_store(&disturber.stop, true);
	pthread_join(thread, NULL);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(memory[(i + 1) * WORDS(1) - 1], i);
	ktap_note("%llu events meanwhile", (unsigned long long)disturber.events);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "a write to read-only memory is refused", .run = read_only },
		{ .name = "a read of PROT_NONE memory is refused", .run = no_access },
		{ .name = "mprotect stops a running writer", .run = protect_while_running },
		{ .name = "munmap during a program is a reported fault", .run = unmap_while_running },
		{ .name = "remap during a program leaves nothing stale", .run = remap_while_running },
		{ .name = "discarded memory reads as zero", .run = discarded },
		{ .name = "mremap moves what the device sees", .run = moved },
		{ .name = "a huge page in place", .run = huge_page },
		{ .name = "a snapshot shows both page tables", .run = snapshot },
		{ .name = "faults are served amid events elsewhere", .run = faults_amid_events },
		{ .name = "munmap gives page-table pages back", .run = tables_come_back },
	};

	return ktap_main(argc, argv, "What happens to a mapping, the device sees at once", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
