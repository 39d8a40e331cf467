// SPDX-License-Identifier: MIT
/* A device's atomic is one step to the CPUs too, or it is refused. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define HUGE		(2UL << 20)
/* Adds of the device while CPUs add as often as they can. */
#define ADDS		20000

struct adder {
	_Atomic uint64_t *word;
	atomic_bool *stop;
	uint64_t done;
};

static void *add(void *argument)
{
	struct adder *adder = argument;

	while (!atomic_load(adder->stop)) {
		atomic_fetch_add(adder->word, 1);
		adder->done++;
	}
	return NULL;
}

/* The device adds ADDS times while two CPUs do nothing else; nobody starves, nothing is lost. */
static void add_together(int dev, uint64_t *word)
{
	atomic_bool stop = false;
	struct adder adder[2];
	struct devmodel_stats before = stats_now(dev), after;
	struct devmodel_wait end;
	pthread_t thread[2];
	unsigned int i;

	*word = 0;
	for (i = 0; i < 2; i++) {
		adder[i] = (struct adder) { .word = (_Atomic uint64_t *)word, .stop = &stop };
		EXPECT(!pthread_create(&thread[i], NULL, add, &adder[i]));
	}
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", word, ADDS, 1));
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	after = stats_now(dev);
	ktap_note("CPUs added %llu and %llu times, the device asked for its page %llu times",
		  (unsigned long long)adder[0].done, (unsigned long long)adder[1].done,
		  (unsigned long long)(after.my_device_faults - before.my_device_faults));
	EXPECT(adder[0].done + adder[1].done);
	EXPECT_EQ(*word, ADDS + adder[0].done + adder[1].done);
}

static void small_pages(int dev)
{
	add_together(dev, (uint64_t *)map_anonymous(1) + 5);
}

static void moved_on_touch(int dev)
{
	uint64_t *memory = map_anonymous(1);

	EXPECT_OK(devmodel_advise(dev, memory, page_size(), DEVMODEL_POLICY_ON_TOUCH));
	add_together(dev, memory);
}

/* Memory of one huge page, or the test is skipped. */
static uint64_t *map_huge(int dev)
{
	size_t pages = HUGE / page_size();
	uint8_t *memory = map_anonymous(2 * pages);
	uint64_t *aligned = (uint64_t *)(((uintptr_t)memory + HUGE - 1) & -HUGE);
	uint32_t cpu, device;

	if (madvise(aligned, HUGE, MADV_HUGEPAGE))
		ktap_skip("the kernel has no transparent huge pages");
	pattern_write(aligned, pages, 4);
	EXPECT_OK(devmodel_snapshot(dev, aligned, page_size(), &cpu, &device));
	if (!(cpu & DEVMODEL_PAGE_HUGE))
		ktap_skip("the kernel gave no huge page");
	return aligned;
}

static void huge_page(int dev)
{
	size_t pages = HUGE / page_size(), at = WORDS(77) + 9;
	uint64_t *memory = map_huge(dev), was = memory[at];
	struct devmodel_wait end;

	/* With a huge leaf in the device's page table, too. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	add_together(dev, &memory[at]);
	memory[at] = was;
	EXPECT_PATTERN(memory, pages, 4);
}

/* One that single entries map already. */
static void pieces_of_a_huge_page(int dev)
{
	size_t pages = HUGE / page_size();
	uint64_t *memory = map_huge(dev);
	struct devmodel_wait end;
	unsigned int refused = 0;
	uint64_t was;
	int result;
	size_t i;

	EXPECT_EQ(mprotect(memory + WORDS(3), page_size(), PROT_READ), 0);
	for (i = 0; i < pages; i += 50) {
		was = memory[WORDS(i) + 1];
		result = devmodel_run(dev, &end, "atomic_add", memory + WORDS(i) + 1, 3, 2);
		/* Where the kernel cannot, the program is told, and nothing was written. */
		if (result) {
			expect_fault(&end, result, memory + WORDS(i), page_size(),
				     DEVMODEL_ACCESS_ATOMIC);
			refused++;
		}
		EXPECT_EQ(memory[WORDS(i) + 1], result ? was : was + 6);
		memory[WORDS(i) + 1] = was;
	}
	ktap_note("%u of %zu were refused", refused, (pages + 49) / 50);
	result = devmodel_run(dev, &end, "atomic_add", memory + WORDS(3), 1, 1);
	expect_fault(&end, result, memory + WORDS(3), page_size(), DEVMODEL_ACCESS_ATOMIC);
	EXPECT_PATTERN(memory, pages, 4);
}

static uint32_t device_state(int dev, const void *address, uint32_t *cpu)
{
	uint32_t device;

	EXPECT_OK(devmodel_snapshot(dev, address, page_size(), cpu, &device));
	return device;
}

static void taken_back(int dev)
{
	const uint32_t alone = DEVMODEL_PAGE_VALID | DEVMODEL_PAGE_WRITE | DEVMODEL_PAGE_ATOMIC;
	volatile uint64_t *word = map_anonymous(1);
	struct devmodel_wait end;
	uint64_t notified;
	uint32_t cpu;

	*word = 5;
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", word, 1, 1));
	EXPECT_EQ(device_state(dev, (void *)word, &cpu) & alone, alone);
	/* Not a CPU's any more. */
	EXPECT_EQ(cpu, 0);
	/* The device may do anything with it, without another fault. */
	notified = stats_now(dev).my_device_faults;
	EXPECT_OK(devmodel_run(dev, &end, "fill", word, 1, 7));
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", word, 1, 1));
	EXPECT_EQ(stats_now(dev).my_device_faults, notified);

	notified = stats_now(dev).my_notifications;
	EXPECT_EQ(*word, 8);
	EXPECT(stats_now(dev).my_notifications > notified);
	EXPECT_EQ(device_state(dev, (void *)word, &cpu), 0);
	EXPECT(cpu & DEVMODEL_PAGE_VALID);
	EXPECT_OK(devmodel_run(dev, &end, "sum", word, 1));
	EXPECT_EQ(end.result[0], 8);
	/* Reading it does not need it alone. */
	EXPECT(!(device_state(dev, (void *)word, &cpu) & DEVMODEL_PAGE_ATOMIC));
	EXPECT(cpu & DEVMODEL_PAGE_VALID);
}

/* What the device had alone is the CPUs' again when it goes, touched or not. */
static void given_back(int dev)
{
	uint64_t *memory = map_anonymous(3);
	struct devmodel_wait end;
	uint32_t cpu[3], device[3];
	int i;

	pattern_write(memory, 3, 6);
	for (i = 0; i < 3; i++)
		EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + WORDS(i), 1, 0));
	EXPECT_OK(devmodel_snapshot(dev, memory, 3 * page_size(), cpu, device));
	EXPECT(!cpu[0] && !cpu[1] && !cpu[2]);
	devmodel_close(dev);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	EXPECT_OK(devmodel_snapshot(dev, memory, 3 * page_size(), cpu, device));
	for (i = 0; i < 3; i++) {
		EXPECT(cpu[i] & DEVMODEL_PAGE_VALID);
		EXPECT(!device[i]);
	}
	EXPECT_PATTERN(memory, 3, 6);
}

static void refuse(int dev, uint64_t *memory)
{
	struct devmodel_wait end;
	int result;

	memory[3] = 41;
	result = devmodel_run(dev, &end, "atomic_add", memory + 3, 1, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_ATOMIC);
	EXPECT_EQ(memory[3], 41);
	/* With a translation for plain accesses, too. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory + 3, 1, 42));
	result = devmodel_run(dev, &end, "atomic_add", memory + 3, 1, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_ATOMIC);
	EXPECT_EQ(memory[3], 42);
}

static void not_to_be_had(int dev)
{
	int file = make_file("/tmp", 1), result;
	uint64_t *memory = map_anonymous(1);
	struct devmodel_wait end;

	refuse(dev, map_shared(1));
	refuse(dev, mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
	EXPECT_EQ(mprotect(memory, page_size(), PROT_READ), 0);
	result = devmodel_run(dev, &end, "atomic_add", memory, 1, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_ATOMIC);
	EXPECT_EQ(memory[0], 0);
	munmap(memory, page_size());
	result = devmodel_run(dev, &end, "atomic_add", memory, 1, 1);
	expect_fault(&end, result, memory, page_size(), DEVMODEL_ACCESS_ATOMIC);
}

static void file_private(int dev)
{
	int file = make_file("/tmp", 1);
	struct devmodel_wait end;
	uint64_t *memory, word = 41;

	EXPECT_EQ(pwrite(file, &word, sizeof(word), 0), sizeof(word));
	memory = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	EXPECT(memory != MAP_FAILED);
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
	EXPECT_EQ(memory[0], 42);
	EXPECT_EQ(pread(file, &word, sizeof(word), 0), sizeof(word));
	EXPECT_EQ(word, 41);
	add_together(dev, memory);
}

static void forked(int dev)
{
	uint64_t *memory = map_anonymous(2);
	struct devmodel_wait end;
	int child, told[2];
	char byte;

	memory[0] = 5;
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
	EXPECT(!pipe(told));
	child = fork();
	if (!child) {
		close(told[1]);
		if (read(told[0], &byte, 1) < 0 || memory[0] != 6)
			_exit(1);
		memory[0] = 1;
		_exit(0);
	}
	/* The page is shared with the child: the next add needs one of our own. */
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 10, 1));
	EXPECT_EQ(end.result[0], 16);
	close(told[0]);
	close(told[1]);
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_EQ(memory[0], 16);
	add_together(dev, memory);
}

static void in_hbm(int dev)
{
	bool private = model_now(dev) == DEVMODEL_MODEL_PRIVATE;
	uint64_t *memory = map_anonymous(4);
	struct devmodel_wait end;

	pattern_write(memory, 4, 2);
	/* What the device has alone in system memory can be moved like all else. */
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 0));
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
	/* Private HBM is the device's alone; coherent HBM the CPUs reach, so the page came home. */
	EXPECT_EQ(pages_in_hbm(dev, memory, 4), private ? 4 : 3);
	memory[0]--;
	EXPECT_PATTERN(memory, 4, 2);
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_PATTERN(memory, 4, 2);
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	add_together(dev, memory);
}

/* Discarded by another thread while the device has it, or is about to: never a stale page. */
struct discarder {
	uint64_t *memory;
	atomic_bool stop;
	uint64_t done;
};

static void *discard(void *argument)
{
	struct discarder *discarder = argument;

	while (!atomic_load(&discarder->stop)) {
		madvise(discarder->memory, page_size(), MADV_DONTNEED);
		discarder->done++;
	}
	return NULL;
}

static void discarded(int dev)
{
	struct discarder discarder = { .memory = map_anonymous(1) };
	uint64_t *others[16], word;
	struct devmodel_wait end;
	pthread_t thread;
	size_t i;

	EXPECT(!pthread_create(&thread, NULL, discard, &discarder));
	for (i = 0; i < 16; i++) {
		EXPECT_OK(devmodel_run(dev, &end, "atomic_add", discarder.memory, 20, 1));
		EXPECT(end.result[0] <= 20 * (i + 1));
		/* The frame is somebody else's by now, who wants to keep what he wrote. */
		others[i] = map_anonymous(1);
		pattern_write(others[i], 1, i);
	}
	atomic_store(&discarder.stop, true);
	pthread_join(thread, NULL);
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", discarder.memory, 50, 1));
	word = *(volatile uint64_t *)discarder.memory;
	EXPECT_EQ(word, end.result[0]);
	for (i = 0; i < 16; i++)
		EXPECT_PATTERN(others[i], 1, i);
	ktap_note("discarded %llu times", (unsigned long long)discarder.done);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "device and CPUs add to one word", .run = small_pages },
		{ .name = "device and CPUs add to one word that moves on touch",
		  .run = moved_on_touch, .needs = KTAP_HBM },
		{ .name = "device and CPUs add to a word of a huge page", .run = huge_page },
		{ .name = "atomics on pieces of a huge page", .run = pieces_of_a_huge_page },
		{ .name = "a CPU touch takes the right back", .run = taken_back },
		{ .name = "the last close gives the right back", .run = given_back },
		{ .name = "atomics on what is not to be had alone are refused", .run = not_to_be_had },
		{ .name = "atomics on a private file mapping", .run = file_private },
		{ .name = "atomics across fork", .run = forked },
		{ .name = "atomics on memory in HBM", .run = in_hbm, .needs = KTAP_HBM },
		{ .name = "atomics on memory that is being discarded", .run = discarded },
	};

	return ktap_main(argc, argv, "A device's atomic is one step to the CPUs too", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
