// SPDX-License-Identifier: MIT
/* CPU, kernel and device work on memory that lies in HBM, or is on its way. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define ANSWER		0x1122334455667788ULL

/* The kernel itself reads and writes such memory: system calls, other processes' eyes. */
static void kernel_touches(int dev)
{
	int file = make_file("/tmp", 4), self;
	uint64_t *memory = map_anonymous(4), *copy = map_anonymous(4);
	struct iovec from = { memory, 4 * page_size() }, to = { copy, 4 * page_size() };
	struct devmodel_wait end;

	pattern_write(memory, 4, 8);
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(write(file, memory, 4 * page_size()), 4 * page_size());
	EXPECT_EQ(pread(file, copy, 4 * page_size(), 0), 4 * page_size());
	EXPECT_PATTERN(copy, 4, 8);

	memset(copy, 0, 4 * page_size());
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(process_vm_readv(getpid(), &to, 1, &from, 1, 0), 4 * page_size());
	EXPECT_PATTERN(copy, 4, 8);

	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	self = open("/proc/self/mem", O_RDWR);
	EXPECT(self >= 0);
	EXPECT_EQ(pwrite(self, &(uint64_t) { ANSWER }, 8, (uintptr_t)memory), 8);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], ANSWER);

	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pread(file, memory, 8, 8), 8);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], copy[1]);
}

static void cpu_in_place(int dev)
{
	struct devmodel_stats start;
	uint64_t *memory = map_anonymous(64);
	struct devmodel_wait end;

	pattern_write(memory, 64, 1);
	migrate_all(dev, memory, 64, DEVMODEL_TARGET_DEVICE);
	start = stats_now(dev);
	EXPECT_PATTERN(memory, 64, 1);
	pattern_write(memory, 64, 2);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	EXPECT_PATTERN(memory, 64, 2);
	EXPECT_EQ(pages_in_hbm(dev, memory, 64), 64);
	EXPECT_EQ(stats_now(dev).pages_to_system, start.pages_to_system);
	EXPECT_EQ(stats_now(dev).cpu_faults, start.cpu_faults);
}

/* Adds are counted exactly while the page goes to and fro below the program. */
static void adds_on_a_moving_page(int dev)
{
	enum { ADDS = 60000 };
	volatile uint64_t *word = map_anonymous(1);
	int64_t handle = devmodel_launch(dev, "atomic_add", word, ADDS, 1);
	struct devmodel_stats start = stats_now(dev), now;
	struct devmodel_wait end;
	uint64_t last = 0;
	int moves = 0;

	EXPECT_OK(handle);
	while (devmodel_wait(dev, handle, 0, &end)) {
		EXPECT_EQ(errno, ETIME);
		EXPECT_OK(devmodel_migrate(dev, (void *)word, page_size(), moves++ % 2, NULL, NULL));
		EXPECT(*word >= last);
		last = *word;
	}
	EXPECT_EQ(end.status, DEVMODEL_STATUS_OK);
	EXPECT_EQ(end.result[0], ADDS);
	EXPECT_EQ(*word, ADDS);
	now = stats_now(dev);
	ktap_note("%d requests, %llu pages to the device, %llu back", moves,
		  (unsigned long long)(now.pages_to_device - start.pages_to_device),
		  (unsigned long long)(now.pages_to_system - start.pages_to_system));
}

struct hammer {
	volatile uint64_t *words;
	size_t pages;
	int which;
	uint64_t count;
	atomic_bool stop;
};

/* A CPU that adds to a word of its own in every page. */
static void *hammer_pages(void *argument)
{
	struct hammer *hammer = argument;
	size_t page;

	while (!atomic_load(&hammer->stop)) {
		for (page = 0; page < hammer->pages; page++)
			hammer->words[page * WORDS(1) + hammer->which]++;
		hammer->count++;
	}
	return NULL;
}

static void cpus_and_device_at_once(int dev)
{
	enum { PAGES = 64, ROUNDS = 30 };
	uint64_t *memory = map_anonymous(PAGES);
	struct hammer hammer[2] = {};
	struct devmodel_wait end;
	pthread_t thread[2];
	size_t i, page;

	for (i = 0; i < 2; i++) {
		hammer[i] = (struct hammer) { .words = memory, .pages = PAGES, .which = i };
		EXPECT(!pthread_create(&thread[i], NULL, hammer_pages, &hammer[i]));
	}
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_OK(devmodel_migrate(dev, memory, PAGES * page_size(), DEVMODEL_TARGET_DEVICE, NULL, NULL));
		for (page = 0; page < PAGES; page += 4)
			EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + page * WORDS(1) + 2, 3, 1));
		EXPECT_OK(devmodel_migrate(dev, memory, PAGES * page_size(), DEVMODEL_TARGET_SYSTEM, NULL, NULL));
	}
	for (i = 0; i < 2; i++) {
		atomic_store(&hammer[i].stop, true);
		pthread_join(thread[i], NULL);
	}
	for (page = 0; page < PAGES; page++) {
		EXPECT_EQ(memory[page * WORDS(1)], hammer[0].count);
		EXPECT_EQ(memory[page * WORDS(1) + 1], hammer[1].count);
		EXPECT_EQ(memory[page * WORDS(1) + 2], page % 4 ? 0 : 3 * ROUNDS);
	}
}

static void split_huge_page(int dev)
{
	size_t huge = 2 << 20, pages = huge / page_size();
	uint8_t *memory = map_anonymous(2 * pages);
	uint64_t *aligned = (uint64_t *)(((uintptr_t)memory + huge - 1) & -huge);
	uint32_t *states = calloc(2 * pages, sizeof(*states));

	if (madvise(aligned, huge, MADV_HUGEPAGE))
		ktap_skip("the kernel has no transparent huge pages");
	pattern_write(aligned, pages, 5);
	EXPECT_OK(devmodel_snapshot(dev, aligned, huge, states, states + pages));
	if (!(states[0] & DEVMODEL_PAGE_HUGE))
		ktap_skip("the kernel gave no huge page");
	migrate_all(dev, aligned, pages, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, aligned, pages), pages);
	EXPECT_PATTERN(aligned, pages, 5);
}

/* More than there is: what has not been used for longest goes home, and nothing is lost. */
static void hbm_full(int dev)
{
	struct devmodel_stats start = stats_now(dev);
	size_t fit = (start.hbm_bytes - start.hbm_bytes_in_use) / page_size(), pages = fit + 300, i, evicted;
	uint64_t *memory = map_anonymous(pages);
	struct devmodel_wait end;

	for (i = 0; i < pages; i++)
		memory[i * WORDS(1)] = i + 1;
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	evicted = stats_now(dev).pages_evicted - start.pages_evicted;
	ktap_note("%zu pages, room for %zu: %zu evicted", pages, fit, evicted);
	EXPECT(evicted >= 300);
	EXPECT_EQ(pages_in_hbm(dev, memory, pages), pages - evicted);
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start.hbm_bytes_in_use + (pages - evicted) * page_size());
	/* The device and the CPU go on with memory that lies in both. */
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + (pages - 1) * WORDS(1), 1, 1));
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
	memory[0]--;
	memory[(pages - 1) * WORDS(1)]--;
	for (i = 0; i < pages; i += 97)
		EXPECT_EQ(memory[i * WORDS(1)], i + 1);
	EXPECT(!munmap(memory, pages * page_size()));
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, start.hbm_bytes_in_use);
	/* Every frame can be had again. */
	migrate_all(dev, map_anonymous(fit), fit, DEVMODEL_TARGET_DEVICE);
}

/* Fill pipes with a range, so that nobody can move its pages. Returns how many pipes. */
static size_t hold_all(uint8_t *memory, size_t pages, int pipes[][2], size_t most)
{
	size_t chunk = 256 * page_size(), bytes = pages * page_size(), count = 0;
	struct iovec part;

	for (; bytes; bytes -= part.iov_len, memory += part.iov_len) {
		EXPECT(count < most);
		EXPECT(!pipe(pipes[count]));
		EXPECT_EQ(fcntl(pipes[count][1], F_SETPIPE_SZ, chunk), chunk);
		part = (struct iovec) { memory, bytes < chunk ? bytes : chunk };
		EXPECT_EQ(vmsplice(pipes[count++][1], &part, 1, 0), part.iov_len);
	}
	return count;
}

/* HBM is full of pages that somebody holds on to: who finds no place is told so. */
static void nothing_can_go(int dev)
{
	static int pipes[300][2];
	struct devmodel_stats start = stats_now(dev);
	size_t fit = (start.hbm_bytes - start.hbm_bytes_in_use) / page_size(), held, i;
	uint8_t *memory = map_anonymous(fit), *more = map_anonymous(300);
	uint32_t outcomes[300];
	struct devmodel_migrate done;

	pattern_write(more, 300, 9);
	migrate_all(dev, memory, fit, DEVMODEL_TARGET_DEVICE);
	held = hold_all(memory, fit, pipes, 300);
	EXPECT_OK(devmodel_migrate(dev, more, 300 * page_size(), DEVMODEL_TARGET_DEVICE, &done,
				   outcomes));
	EXPECT_EQ(done.failed, 300);
	for (i = 0; i < 300; i++)
		EXPECT_EQ(outcomes[i], DEVMODEL_OUTCOME_NO_MEMORY);
	EXPECT_EQ(stats_now(dev).pages_evicted, start.pages_evicted);
	EXPECT_PATTERN(more, 300, 9);
	for (i = 0; i < held; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	migrate_all(dev, more, 300, DEVMODEL_TARGET_DEVICE);
	EXPECT_PATTERN(more, 300, 9);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "the kernel reads and writes pages in HBM", .run = kernel_touches,
		  .needs = KTAP_HBM },
		{ .name = "the CPU works in coherent HBM", .run = cpu_in_place,
		  .needs = KTAP_COHERENT },
		{ .name = "adds on a moving page", .run = adds_on_a_moving_page, .needs = KTAP_HBM },
		{ .name = "CPUs and device on the same moving pages", .run = cpus_and_device_at_once,
		  .needs = KTAP_HBM, .seconds = 120 },
		{ .name = "a huge page is split and moved", .run = split_huge_page, .needs = KTAP_HBM },
		{ .name = "HBM full", .run = hbm_full, .needs = KTAP_FRAMES, .seconds = 120 },
		{ .name = "HBM full of pages that cannot go", .run = nothing_can_go,
		  .needs = KTAP_COHERENT, .seconds = 120 },
	};

	return ktap_main(argc, argv, "CPU, kernel and device work on memory in HBM", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
