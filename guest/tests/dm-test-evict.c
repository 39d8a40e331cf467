// SPDX-License-Identifier: MIT
/* More memory in use than HBM has: pages are evicted, the right ones, and bytes are kept. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"
#include "row.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define GROUP		CONTROL_GROUP("dm-test-evict")
/* What a process is charged for beside its pages, and what the kernel charges in advance. */
#define SLACK		((uint64_t)1 << 20)

static size_t frames(int dev)
{
	return stats_now(dev).hbm_bytes / page_size();
}

/* What is used all the time stays, whatever else goes through. */
static void hot_pages_stay(int dev)
{
	size_t hot = 64, step = 128, all = 4 * frames(dev), done;
	uint64_t *memory = map_anonymous(hot), *cold = map_anonymous(all);
	struct devmodel_stats start = stats_now(dev);
	struct devmodel_wait end;

	pattern_write(memory, hot, 1);
	pattern_write(cold, all, 2);
	migrate_all(dev, memory, hot, DEVMODEL_TARGET_DEVICE);
	for (done = 0; done < all; done += step) {
		EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(hot)));
		migrate_all(dev, cold + WORDS(done), step, DEVMODEL_TARGET_DEVICE);
		EXPECT_EQ(pages_in_hbm(dev, memory, hot), hot);
	}
	ktap_note("%llu pages evicted",
		  (unsigned long long)(stats_now(dev).pages_evicted - start.pages_evicted));
	EXPECT(stats_now(dev).pages_evicted - start.pages_evicted >= all - frames(dev));
	/* The hand has been round several times: what was here once is gone. */
	EXPECT_EQ(pages_in_hbm(dev, cold, all / 2), 0);
	EXPECT_PATTERN(memory, hot, 1);
	EXPECT_PATTERN(cold, all, 2);
}

/* Nothing is hot when everything is: somebody has to go. */
static void all_pages_are_hot(int dev)
{
	size_t all = frames(dev), more = all / 4;
	uint64_t *memory = map_anonymous(all), *others = map_anonymous(more);
	struct devmodel_wait end;

	pattern_write(memory, all, 3);
	pattern_write(others, more, 4);
	migrate_all(dev, memory, all, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(all)));
	migrate_all(dev, others, more, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, others, more), more);
	EXPECT(pages_in_hbm(dev, memory, all) <= all - more);
	EXPECT_PATTERN(memory, all, 3);
	EXPECT_PATTERN(others, more, 4);
}

/* What is there already needs no room. */
static void there_already(int dev)
{
	size_t all = frames(dev);
	uint64_t *memory = map_anonymous(all);
	struct devmodel_migrate done;
	uint64_t evicted;

	pattern_write(memory, all, 5);
	migrate_all(dev, memory, all, DEVMODEL_TARGET_DEVICE);
	evicted = stats_now(dev).pages_evicted;
	EXPECT_OK(devmodel_migrate(dev, memory, all * page_size(), DEVMODEL_TARGET_DEVICE, &done, NULL));
	EXPECT_EQ(done.already, all);
	EXPECT_EQ(stats_now(dev).pages_evicted, evicted);
	EXPECT_EQ(pages_in_hbm(dev, memory, all), all);
}

/* The device copies one half of the memory to the other, and comes through all of it again. */
static void sweep(int dev, size_t pages, uint64_t seed)
{
	uint64_t *from = map_anonymous(pages), *to = map_anonymous(pages);
	size_t bytes = pages * page_size();
	struct devmodel_wait end;
	uint64_t sum;

	pattern_write(from, pages, seed);
	EXPECT_OK(devmodel_advise(dev, from, bytes, DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_advise(dev, to, bytes, DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_run(dev, &end, "copy", to, from, bytes));
	EXPECT_OK(devmodel_run(dev, &end, "sum", from, WORDS(pages)));
	sum = end.result[0];
	EXPECT_OK(devmodel_run(dev, &end, "sum", to, WORDS(pages)));
	EXPECT_EQ(end.result[0], sum);
	EXPECT_PATTERN(from, pages, seed);
	EXPECT_PATTERN(to, pages, seed);
}

static void four_times(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	size_t all = frames(dev);

	sweep(dev, 2 * all, 6);
	now = stats_now(dev);
	ktap_note("%llu pages to the device, %llu evicted",
		  (unsigned long long)(now.pages_to_device - start.pages_to_device),
		  (unsigned long long)(now.pages_evicted - start.pages_evicted));
	EXPECT(now.pages_to_device - start.pages_to_device >= 4 * all);
	EXPECT(now.pages_evicted - start.pages_evicted >= 3 * all);
}

static void four_processes(int dev)
{
	struct devmodel_stats start = stats_now(dev), now;
	size_t all = frames(dev);
	pid_t child[4];
	int i;

	for (i = 0; i < 4; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		sweep(dev, all / 2, i);
		sweep(dev, all / 2, i + 10);
		_exit(0);
	}
	for (i = 0; i < 4; i++)
		EXPECT_EQ(wait_child(child[i]), 0);
	now = stats_now(dev);
	ktap_note("%llu pages to the device, %llu evicted",
		  (unsigned long long)(now.pages_to_device - start.pages_to_device),
		  (unsigned long long)(now.pages_evicted - start.pages_evicted));
	EXPECT(now.pages_evicted - start.pages_evicted >= 3 * all);
}

/* Others' pages go too, and while they are at work on them. */
static void others_go(int dev)
{
	size_t all = frames(dev), mine = all / 2;
	uint64_t *memory = map_anonymous(mine), *word = memory;
	int64_t handle;
	struct devmodel_wait end;
	pid_t child;

	pattern_write(memory, mine, 7);
	word[0] = 0;
	migrate_all(dev, memory, mine, DEVMODEL_TARGET_DEVICE);
	handle = devmodel_launch(dev, "atomic_add", word, 20000, 1);
	EXPECT_OK(handle);
	child = fork();
	if (!child) {
		int own = devmodel_open(NULL);
		uint64_t *theirs = map_anonymous(3 * all);

		EXPECT_OK(own);
		pattern_write(theirs, 3 * all, 8);
		migrate_all(own, theirs, 3 * all, DEVMODEL_TARGET_DEVICE);
		EXPECT_PATTERN(theirs, 3 * all, 8);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_OK(devmodel_wait(dev, handle, 30000, &end));
	EXPECT_EQ(word[0], 20000);
	/* The hand has been round, and all but one were idle. */
	EXPECT_EQ(pages_in_hbm(dev, memory + WORDS(1), mine - 1), 0);
	pattern_write(memory, 1, 7);
	EXPECT_PATTERN(memory, mine, 7);
}

static uint64_t charged(void)
{
	return kernel_get(GROUP "/memory.current", NULL);
}

/* In its group: the charge for a page goes with the page, wherever that is moved. */
static void work_in_group(size_t all)
{
	uint64_t *memory = map_anonymous(4 * all), before, now;
	size_t bytes = 4 * all * page_size();
	int dev = devmodel_open(NULL), i;
	struct devmodel_wait end;

	EXPECT_OK(dev);
	EXPECT_OK(devmodel_run(dev, &end, "sum", &before, 1));
	pattern_write(memory, 4 * all, 1);
	before = charged();
	EXPECT(before >= bytes);
	for (i = 0; i < 3; i++) {
		migrate_all(dev, memory, 4 * all, DEVMODEL_TARGET_DEVICE);
		now = charged();
		ktap_note("charged %llu, then %llu", (unsigned long long)before,
			  (unsigned long long)now);
		EXPECT(now < before + SLACK && before < now + SLACK);
	}
	EXPECT_PATTERN(memory, 4 * all, 1);
	migrate_all(dev, memory, 4 * all, DEVMODEL_TARGET_DEVICE);
	EXPECT(!munmap(memory, bytes));
	now = charged();
	EXPECT(now + bytes < before + SLACK);
}

/* A group whose limit leaves no room for a page to be charged twice. */
static void memory_cgroup(int dev)
{
	size_t all = frames(dev);
	char text[32];
	pid_t child;

	make_group(GROUP);
	snprintf(text, sizeof(text), "%zu", 4 * all * page_size() + 2 * SLACK);
	kernel_set(GROUP "/memory.max", text);
	child = fork();
	if (!child) {
		kernel_set(GROUP "/cgroup.procs", "0");
		work_in_group(all);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT(!rmdir(GROUP));
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "hot pages stay", .run = hot_pages_stay, .needs = KTAP_SMALL },
		{ .name = "when all are hot, some go", .run = all_pages_are_hot, .needs = KTAP_SMALL },
		{ .name = "what is there already needs no room", .run = there_already,
		  .needs = KTAP_SMALL },
		{ .name = "four times what there is, on touch", .run = four_times,
		  .needs = KTAP_SMALL, .seconds = 120 },
		{ .name = "four processes, on touch", .run = four_processes, .needs = KTAP_SMALL,
		  .seconds = 120 },
		{ .name = "in a memory cgroup at its limit", .run = memory_cgroup,
		  .needs = KTAP_SMALL },
		{ .name = "pages of others go while they are used", .run = others_go,
		  .needs = KTAP_SMALL, .seconds = 120 },
	};

	return ktap_main(argc, argv, "More memory in use than HBM has", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
