// SPDX-License-Identifier: MIT
/* HBM fails: who uses what lay there is told, and nobody else. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"
#include "row.h"

#define OFFLINE	"/sys/devices/system/memory/hard_offline_page"
#define PAGES	8
#define HUGE	((size_t)512)
#define SEED	77

static sigjmp_buf after_sigbus;
static siginfo_t told;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	told = *info;
	siglongjmp(after_sigbus, 1);
}

/* Is a page gone, and the CPU told so in the words of hardware that failed? */
static bool is_lost(const void *page)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(after_sigbus, 1)) {
		EXPECT_EQ(told.si_code, BUS_MCEERR_AR);
		EXPECT_EQ((uintptr_t)told.si_addr & ~(page_size() - 1), (uintptr_t)page);
		return true;
	}
	(void)*(const volatile char *)page;
	return false;
}

static uint8_t *page_of(void *memory, size_t page)
{
	return (uint8_t *)memory + page * page_size();
}

/* The frame of a page in HBM, be it one that the CPU reaches or not. */
static uint64_t hbm_frame(const void *page)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	EXPECT(pagemap >= 0);
	EXPECT_EQ(pread(pagemap, &entry, sizeof(entry),
			(uintptr_t)page / page_size() * sizeof(entry)), sizeof(entry));
	close(pagemap);
	/* Of what is not present bits 0 to 4 say of which kind it is, and then comes the frame. */
	entry = entry >> 63 ? entry & ((1ULL << 55) - 1) : (entry & ((1ULL << 55) - 1)) >> 5;
	EXPECT(entry);
	return entry;
}

/* What a machine check would tell the kernel. */
static void fail(uint64_t frame)
{
	char address[32];

	snprintf(address, sizeof(address), "0x%llx", (unsigned long long)frame * page_size());
	kernel_set(OFFLINE, address);
}

static void nap(void)
{
	struct timespec millisecond = { .tv_nsec = 1000000 };

	nanosleep(&millisecond, NULL);
}

/* Pages that were lost go by themselves; the harness ends a test that waits for ever. */
static void wait_lost(int dev, const struct devmodel_stats *before, uint64_t pages)
{
	while (stats_now(dev).pages_lost < before->pages_lost + pages)
		nap();
	EXPECT_EQ(stats_now(dev).pages_lost, before->pages_lost + pages);
}

static uint64_t *in_hbm(int dev, size_t pages)
{
	uint64_t *memory = map_anonymous(pages);

	pattern_write(memory, pages, SEED);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	return memory;
}

/* All pages but one are there, with the right bytes. */
static void expect_all_but(uint64_t *memory, size_t pages, size_t lost)
{
	uint64_t *copy = map_anonymous(pages);
	size_t page;

	pattern_write(copy, pages, SEED);
	for (page = 0; page < pages; page++) {
		EXPECT_EQ(is_lost(page_of(memory, page)), page == lost);
		EXPECT(page == lost ||
		       !memcmp(page_of(memory, page), page_of(copy, page), page_size()));
	}
}

static void one_page(int dev)
{
	struct devmodel_stats before = stats_now(dev), after;
	int go[2], ready[2], other, result;
	struct devmodel_wait end;
	uint64_t *memory;
	char byte = 0;

	EXPECT(!pipe(go) && !pipe(ready));
	other = fork();
	if (!other) {
		int theirs = devmodel_open(NULL);

		EXPECT(theirs >= 0);
		memory = in_hbm(theirs, PAGES);
		EXPECT_EQ(write(ready[1], &byte, 1), 1);
		EXPECT_EQ(read(go[0], &byte, 1), 1);
		EXPECT_OK(devmodel_run(theirs, &end, "sum", memory, PAGES * page_size() / 8));
		EXPECT_PATTERN(memory, PAGES, SEED);
		_exit(0);
	}
	EXPECT_EQ(read(ready[0], &byte, 1), 1);
	memory = in_hbm(dev, PAGES);
	/* The device has translations for it. */
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, PAGES * page_size() / 8));
	fail(hbm_frame(page_of(memory, 3)));
	wait_lost(dev, &before, 1);
	result = devmodel_run(dev, &end, "sum", page_of(memory, 3), 1);
	expect_fault(&end, result, page_of(memory, 3), page_size(), DEVMODEL_ACCESS_READ);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 3 * page_size() / 8));
	expect_all_but(memory, PAGES, 3);
	EXPECT_EQ(write(go[1], &byte, 1), 1);
	EXPECT_EQ(wait_child(other), 0);
	/* What stands for it can fail as well as any page. */
	fail(hbm_frame(page_of(memory, 3)));
	EXPECT(is_lost(page_of(memory, 3)));
	/* A page that is lost can be let go of, and what is mapped there then is new. */
	munmap(page_of(memory, 3), page_size());
	EXPECT(mmap(page_of(memory, 3), page_size(), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page_of(memory, 3));
	EXPECT_EQ(memory[3 * page_size() / 8], 0);
	munmap(memory, PAGES * page_size());
	after = stats_now(dev);
	EXPECT_EQ(after.hbm_bytes_failed, before.hbm_bytes_failed + page_size());
	EXPECT_EQ(after.hbm_bytes_in_use, before.hbm_bytes_in_use);
}

/* All who have the page lose it. */
static void shared_since_a_fork(int dev)
{
	struct devmodel_stats before = stats_now(dev);
	uint64_t *memory = in_hbm(dev, 2);
	int go[2], child;
	char byte = 0;

	EXPECT(!pipe(go));
	child = fork();
	if (!child) {
		EXPECT_EQ(read(go[0], &byte, 1), 1);
		EXPECT(is_lost(page_of(memory, 1)));
		EXPECT(!is_lost(memory));
		_exit(0);
	}
	fail(hbm_frame(page_of(memory, 1)));
	wait_lost(dev, &before, 1);
	EXPECT(is_lost(page_of(memory, 1)));
	EXPECT_EQ(write(go[1], &byte, 1), 1);
	EXPECT_EQ(wait_child(child), 0);
	/* And so does who comes after. */
	child = fork();
	if (!child)
		_exit(!is_lost(page_of(memory, 1)) || is_lost(memory));
	EXPECT_EQ(wait_child(child), 0);
}

/* Nobody is hurt, and nobody gets it: the next page in HBM lies somewhere else. */
static void free_frame(int dev)
{
	struct devmodel_stats before = stats_now(dev);
	uint64_t *memory = in_hbm(dev, 1);
	uint64_t frame = hbm_frame(memory), *others;
	size_t page;

	munmap(memory, page_size());
	fail(frame);
	fail(frame);
	EXPECT_EQ(stats_now(dev).hbm_bytes_failed, before.hbm_bytes_failed + page_size());
	others = in_hbm(dev, 64);
	for (page = 0; page < 64; page++)
		EXPECT(hbm_frame(page_of(others, page)) != frame);
	EXPECT_PATTERN(others, 64, SEED);
	EXPECT_EQ(stats_now(dev).pages_lost, before.pages_lost);
}

/* A page that somebody holds on to is lost once he lets go. */
static void spliced_page(int dev)
{
	struct devmodel_stats before = stats_now(dev);
	uint64_t *memory = in_hbm(dev, 2);
	struct iovec page = { .iov_base = page_of(memory, 1), .iov_len = page_size() };
	static uint8_t bytes[65536];
	int holder[2];

	EXPECT(!pipe(holder));
	EXPECT_EQ(vmsplice(holder[1], &page, 1, 0), page_size());
	fail(hbm_frame(page_of(memory, 1)));
	EXPECT_EQ(stats_now(dev).pages_lost, before.pages_lost);
	EXPECT_EQ(read(holder[0], bytes, page_size()), page_size());
	wait_lost(dev, &before, 1);
	EXPECT(is_lost(page_of(memory, 1)));
	EXPECT(!is_lost(memory));
}

/* It is one page, so all of it is lost; its frames are good but for one. */
static void huge_page(int dev)
{
	size_t pages = HUGE, size = HUGE * page_size();
	struct devmodel_stats before = stats_now(dev);
	uint64_t *memory = map_anonymous(2 * pages), *other;
	uint32_t state, device;

	memory = (void *)(((uintptr_t)memory + size - 1) & ~(size - 1));
	if (madvise(memory, size, MADV_HUGEPAGE))
		ktap_skip("this kernel has no huge pages");
	pattern_write(memory, pages, SEED);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_snapshot(dev, memory, page_size(), &state, &device));
	if (!(state & DEVMODEL_PAGE_HUGE))
		ktap_skip("private memory has no huge pages here");
	fail(hbm_frame(memory) + 7);
	wait_lost(dev, &before, pages);
	EXPECT(is_lost(memory));
	EXPECT(is_lost(page_of(memory, pages - 1)));
	EXPECT_EQ(stats_now(dev).hbm_bytes_failed, before.hbm_bytes_failed + page_size());
	/* A part of it may go. */
	munmap(page_of(memory, 5), page_size());
	EXPECT(is_lost(page_of(memory, 4)));
	other = in_hbm(dev, 4);
	EXPECT_PATTERN(other, 4, SEED);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "one page fails", .run = one_page, .needs = KTAP_FRAMES },
		{ .name = "a page fails that a fork shares", .run = shared_since_a_fork,
		  .needs = KTAP_FRAMES },
		{ .name = "a free frame fails", .run = free_frame, .needs = KTAP_FRAMES },
		{ .name = "a page fails that is held on to", .run = spliced_page,
		  .needs = KTAP_COHERENT },
		{ .name = "a part of a huge page fails", .run = huge_page, .needs = KTAP_PRIVATE },
	};

	return ktap_main(argc, argv, "memory failures in HBM", tests, sizeof(tests) / sizeof(*tests));
}
