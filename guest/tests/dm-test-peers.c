// SPDX-License-Identifier: MIT
/* One process on two devices: pages go from one HBM to the other, not by way of system memory. */
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
#define PAGES		700

/* Devices by number reach each other's HBM up to this one's. */
#define APERTURES	6

static bool reached(int dev)
{
	char link[64], path[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dev);
	length = readlink(link, path, sizeof(path) - 1);
	EXPECT(length > 0);
	path[length] = '\0';
	return atoi(path + strlen("/dev/devmodel")) < APERTURES;
}

/* All of a range lies in @from; move it to @to, and see it counted right. */
static void move(int from, int to, void *memory, size_t pages)
{
	struct devmodel_stats source = stats_now(from), target = stats_now(to), now;
	size_t direct = reached(from) ? pages : 0;

	EXPECT_EQ(pages_in_hbm(from, memory, pages), pages);
	migrate_all(to, memory, pages, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(to, memory, pages), pages);
	now = stats_now(to);
	EXPECT_EQ(now.pages_to_device, target.pages_to_device + pages);
	EXPECT_EQ(now.pages_from_peer, target.pages_from_peer + direct);
	EXPECT_EQ(now.hbm_bytes_in_use, target.hbm_bytes_in_use + pages * page_size());
	EXPECT(now.bytes_to_device >= target.bytes_to_device + pages * page_size());
	now = stats_now(from);
	EXPECT_EQ(now.pages_to_peer, source.pages_to_peer + direct);
	EXPECT_EQ(now.pages_to_system, source.pages_to_system + pages - direct);
	EXPECT_EQ(now.hbm_bytes_in_use, source.hbm_bytes_in_use - pages * page_size());
	EXPECT_EQ(now.cpu_faults, source.cpu_faults);
}

static void there_and_back(int dev)
{
	int peer = open_last();
	uint64_t *memory = map_anonymous(PAGES);

	ktap_note("models %s and %s", devmodel_model_name(model_now(dev)),
		  devmodel_model_name(model_now(peer)));
	pattern_write(memory, PAGES, 1);
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	move(dev, peer, memory, PAGES);
	move(peer, dev, memory, PAGES);
	move(dev, peer, memory, PAGES);
	migrate_all(peer, memory, PAGES, DEVMODEL_TARGET_SYSTEM);
	EXPECT_PATTERN(memory, PAGES, 1);
}

/* What each device wrote where the page was goes with the page. */
static void writes_go_along(int dev)
{
	int peer = open_last(), round;
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;
	size_t i;

	migrate_all(dev, memory, 8, DEVMODEL_TARGET_DEVICE);
	for (round = 0; round < 5; round++) {
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory + round, 1, 100 + round));
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory + WORDS(7) + round, 1, 200 + round));
		move(dev, peer, memory, 8);
		EXPECT_OK(devmodel_run(peer, &end, "sum", memory, 5));
		EXPECT_OK(devmodel_run(peer, &end, "fill", memory + WORDS(3) + round, 1, end.result[0]));
		EXPECT_EQ(pages_in_hbm(peer, memory, 8), 8);
		move(peer, dev, memory, 8);
	}
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(memory[i], 100 + i);
		EXPECT_EQ(memory[WORDS(7) + i], 200 + i);
		EXPECT_EQ(memory[WORDS(3) + i], (i + 1) * (200 + i) / 2);
	}
}

static void on_touch(int dev)
{
	int peer = open_last();
	uint64_t *memory = map_anonymous(64);
	struct devmodel_stats start;
	struct devmodel_wait end;
	uint64_t sum;

	pattern_write(memory, 64, 3);
	EXPECT_OK(devmodel_advise(peer, memory, 64 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	migrate_all(dev, memory, 64, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(64)));
	sum = end.result[0];
	start = stats_now(peer);
	EXPECT_OK(devmodel_run(peer, &end, "sum", memory, WORDS(64)));
	EXPECT_EQ(end.result[0], sum);
	EXPECT_EQ(pages_in_hbm(peer, memory, 64), 64);
	EXPECT_EQ(stats_now(peer).pages_from_peer, start.pages_from_peer + (reached(dev) ? 64 : 0));
	EXPECT_PATTERN(memory, 64, 3);
}

/* 0 here, 1 there already, 2 in system memory, 3 empty, 4 a hole, 5 shared, 6 here. */
static void from_everywhere(int dev)
{
	static const uint32_t wanted[] = {
		DEVMODEL_OUTCOME_MOVED, DEVMODEL_OUTCOME_ALREADY_THERE, DEVMODEL_OUTCOME_MOVED,
		DEVMODEL_OUTCOME_MOVED, DEVMODEL_OUTCOME_NOT_MIGRATABLE,
		DEVMODEL_OUTCOME_NOT_MIGRATABLE, DEVMODEL_OUTCOME_MOVED,
	};
	int peer = open_last();
	size_t size = page_size(), i;
	uint8_t *memory = map_anonymous(7);
	struct devmodel_stats start;
	struct devmodel_migrate done;
	uint32_t outcomes[7];

	for (i = 0; i < 7; i++)
		if (i != 3)
			memory[i * size] = i + 1;
	EXPECT(!munmap(memory + 4 * size, size));
	EXPECT(mmap(memory + 5 * size, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory + 5 * size);
	memory[5 * size] = 6;
	migrate_all(dev, memory, 1, DEVMODEL_TARGET_DEVICE);
	migrate_all(peer, memory + size, 1, DEVMODEL_TARGET_DEVICE);
	migrate_all(dev, memory + 6 * size, 1, DEVMODEL_TARGET_DEVICE);
	start = stats_now(peer);
	EXPECT_OK(devmodel_migrate(peer, memory, 7 * size, DEVMODEL_TARGET_DEVICE, &done, outcomes));
	for (i = 0; i < 7; i++)
		EXPECT_EQ(outcomes[i], wanted[i]);
	EXPECT_EQ(done.moved, 4);
	EXPECT_EQ(done.already, 1);
	EXPECT_EQ(done.failed, 2);
	EXPECT_EQ(stats_now(peer).pages_from_peer, start.pages_from_peer + (reached(dev) ? 2 : 0));
	for (i = 0; i < 7; i++)
		if (i != 4)
			EXPECT_EQ(memory[i * size], i == 3 ? 0 : i + 1);
}

/* A page of a coherent device that somebody holds on to stays there, alone of its range. */
static void held_page_stays(int dev)
{
	int peer = open_last(), hold[2];
	size_t size = page_size(), i;
	uint8_t *memory = map_anonymous(4);
	struct devmodel_migrate done;
	uint32_t outcomes[4];
	struct iovec pin = { memory + 2 * size, size };

	if (model_now(peer) != DEVMODEL_MODEL_COHERENT)
		ktap_skip("the kernel takes private pages out before it holds on to them");
	pattern_write(memory, 4, 5);
	migrate_all(peer, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT(!pipe(hold));
	EXPECT_EQ(vmsplice(hold[1], &pin, 1, 0), size);
	EXPECT_OK(devmodel_migrate(dev, memory, 4 * size, DEVMODEL_TARGET_DEVICE, &done, outcomes));
	for (i = 0; i < 4; i++)
		EXPECT((outcomes[i] == DEVMODEL_OUTCOME_MOVED) == (i != 2));
	EXPECT_EQ(pages_in_hbm(dev, memory, 4), 3);
	EXPECT_EQ(pages_in_hbm(peer, memory, 4), 1);
	close(hold[0]);
	close(hold[1]);
	migrate_all(dev, memory, 4, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(peer, memory, 4), 0);
	EXPECT_PATTERN(memory, 4, 5);
}

/* The process has left the device where its pages are; another one pulls them out all the same. */
static void mirror_is_gone(int dev)
{
	int peer = open_last();
	uint64_t *memory = map_anonymous(16);

	pattern_write(memory, 16, 6);
	migrate_all(peer, memory, 16, DEVMODEL_TARGET_DEVICE);
	devmodel_close(peer);
	migrate_all(dev, memory, 16, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pages_in_hbm(dev, memory, 16), 16);
	EXPECT_PATTERN(memory, 16, 6);
}

/* Pages of a parent and its child, which is on the other device. */
static void shared_since_fork(int dev)
{
	uint64_t *memory = map_anonymous(16);
	struct devmodel_wait end;
	pid_t child;

	pattern_write(memory, 16, 7);
	migrate_all(dev, memory, 16, DEVMODEL_TARGET_DEVICE);
	child = fork();
	if (!child) {
		int peer = open_last();

		migrate_all(peer, memory, 16, DEVMODEL_TARGET_DEVICE);
		EXPECT_OK(devmodel_run(peer, &end, "fill", memory, WORDS(16), 9));
		EXPECT_EQ(memory[0], 9);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	EXPECT_PATTERN(memory, 16, 7);
}

/* Both devices at work on the same pages, each of which wants them for itself. */
static void tug_of_war(int dev)
{
	enum { ADDS = 300 };
	int peer = open_last(), i;
	uint64_t *memory = map_anonymous(4);
	struct devmodel_wait end;
	int64_t one, two;

	EXPECT_OK(devmodel_advise(dev, memory, 4 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	EXPECT_OK(devmodel_advise(peer, memory, 4 * page_size(), DEVMODEL_POLICY_ON_TOUCH));
	for (i = 0; i < 10; i++) {
		one = devmodel_launch(dev, "atomic_add", memory, ADDS, 1);
		two = devmodel_launch(peer, "atomic_add", memory + 1, ADDS, 1);
		EXPECT_OK(one);
		EXPECT_OK(two);
		EXPECT_OK(devmodel_wait(dev, one, 30000, &end));
		EXPECT_OK(devmodel_wait(peer, two, 30000, &end));
	}
	EXPECT_EQ(memory[0], 10 * ADDS);
	EXPECT_EQ(memory[1], 10 * ADDS);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "to a peer and back", .run = there_and_back, .needs = KTAP_PEERS },
		{ .name = "what a device wrote goes along", .run = writes_go_along,
		  .needs = KTAP_PEERS },
		{ .name = "policy on touch pulls from a peer", .run = on_touch, .needs = KTAP_PEERS },
		{ .name = "one range from everywhere", .run = from_everywhere, .needs = KTAP_PEERS },
		{ .name = "a page that is held stays with the peer", .run = held_page_stays,
		  .needs = KTAP_PEERS },
		{ .name = "pages of a mirror that is gone", .run = mirror_is_gone,
		  .needs = KTAP_PEERS },
		{ .name = "pages shared since a fork", .run = shared_since_fork,
		  .needs = KTAP_PEERS },
		{ .name = "two devices pull at the same pages", .run = tug_of_war,
		  .needs = KTAP_PEERS, .seconds = 120 },
	};

	return ktap_main(argc, argv, "Pages go from one device to another", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
