// SPDX-License-Identifier: MIT
/* What one user takes of the device, and of the kernel by way of it, has a limit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "row.h"

#define USER		1000
#define PROCESSES	300
/* See guest/driver/mirror.c. */
#define CONTEXTS	256
#define GROUP		CONTROL_GROUP("dm-test-limits")
#define HUGE_SIZE	(2UL << 20)
/* Far apart, so that each word has a page of the CPU's page table and one of the device's. */
#define STRETCH		(1UL << 37)
#define TABLE_PAGES	2

static void become_user(void)
{
	EXPECT(!setgroups(0, NULL) && !setgid(USER) && !setuid(USER));
}

/* A process that opens the device, tells how that went, and lives as long as @go is open. */
static pid_t opener(int told, const int *go)
{
	pid_t child = fork();
	int dev, error;
	char byte;

	EXPECT(child >= 0);
	if (child)
		return child;
	close(go[1]);
	become_user();
	dev = open(DEVMODEL_DEFAULT_PATH, O_RDWR | O_CLOEXEC);
	error = dev < 0 ? errno : 0;
	EXPECT_EQ(write(told, &error, sizeof(error)), sizeof(error));
	EXPECT_EQ(read(go[0], &byte, 1), 0);
	_exit(0);
}

static void contexts_of_one_user(int dev)
{
	pid_t child[PROCESSES];
	int told[2], go[2], error, i;
	uint64_t mirrors = stats_now(dev).mirrors;

	EXPECT(!pipe(told) && !pipe(go));
	for (i = 0; i < PROCESSES; i++) {
		child[i] = opener(told[1], go);
		EXPECT_EQ(read(told[0], &error, sizeof(error)), sizeof(error));
		EXPECT_EQ(error, i < CONTEXTS ? 0 : EMFILE);
	}
	EXPECT_EQ(stats_now(dev).mirrors, mirrors + CONTEXTS);
	/* Others have theirs. */
	i = fork();
	if (!i) {
		EXPECT_OK(devmodel_open(NULL));
		_exit(0);
	}
	EXPECT_EQ(wait_child(i), 0);
	close(go[1]);
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(wait_child(child[i]), 0);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
	/* And it has room again. */
	EXPECT(!pipe(go));
	i = opener(told[1], go);
	EXPECT_EQ(read(told[0], &error, sizeof(error)), sizeof(error));
	EXPECT_EQ(error, 0);
	close(go[1]);
	EXPECT_EQ(wait_child(i), 0);
}

/* A control group of its own for memory. */
static void limited_group(const char *limit)
{
	make_group(GROUP);
	kernel_set(GROUP "/memory.max", limit);
	if (!access(GROUP "/memory.swap.max", F_OK))
		kernel_set(GROUP "/memory.swap.max", "0");
}

/* A process in it begins: it opens the device. Returns the descriptor. */
static int begin_in_group(void)
{
	char number[16];
	int dev;

	snprintf(number, sizeof(number), "%d", getpid());
	kernel_set(GROUP "/cgroup.procs", number);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	return dev;
}

/* The device reads one word in each 2 MiB, so many times. Return: how many it could. */
static size_t read_apart(int dev, const char *memory, size_t count)
{
	struct devmodel_wait end;
	size_t i;

	for (i = 0; i < count; i++)
		if (devmodel_run(dev, &end, "sum", memory + i * HUGE_SIZE, 1)) {
			ktap_note("%s", devmodel_error());
			break;
		}
	return i;
}

static char *map_apart(void)
{
	char *memory = mmap(NULL, STRETCH, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	EXPECT(memory != MAP_FAILED);
	/* Or the kernel needs no table for a huge zero page. */
	EXPECT(!madvise(memory, STRETCH, MADV_NOHUGEPAGE));
	return memory;
}

static void tables_are_charged(int dev)
{
	enum { WORDS = 1000 };
	uint64_t before, charged;
	pid_t child;
	char *memory;

	devmodel_close(dev);
	limited_group("64M");
	child = fork();
	if (!child) {
		dev = begin_in_group();
		memory = map_apart();
		EXPECT_EQ(read_apart(dev, memory, 1), 1);
		before = kernel_get(GROUP "/memory.current", NULL);
		EXPECT_EQ(read_apart(dev, memory + HUGE_SIZE, WORDS), WORDS);
		charged = kernel_get(GROUP "/memory.current", NULL) - before;
		ktap_note("%llu KiB", (unsigned long long)charged >> 10);
		/* The kernel counts in batches. */
		EXPECT(charged >= TABLE_PAGES * WORDS * page_size() * 9 / 10);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT(!rmdir(GROUP));
}

static uint64_t available(void)
{
	return kernel_get("/proc/meminfo", "MemAvailable:") << 10;
}

static void tables_have_a_limit(int dev)
{
	enum { LIMIT = 32 << 20, SLACK = 16 << 20 };
	size_t most = LIMIT / page_size() / TABLE_PAGES;
	uint64_t before, lost;
	size_t *done = map_shared(1);
	struct devmodel_wait end;
	char *memory;
	pid_t child;
	int code;

	limited_group("32M");
	before = available();
	child = fork();
	if (!child) {
		dev = begin_in_group();
		memory = map_apart();
		for (*done = 0; *done < 2 * most; ++*done)
			if (devmodel_run(dev, &end, "sum", memory + *done * HUGE_SIZE, 1))
				break;
		*(volatile uint64_t *)(done + 1) = available();
		_exit(0);
	}
	code = wait_child(child);
	/* Either the process is killed, or its program ends. */
	EXPECT(code == 0 || code == 128 + SIGKILL);
	ktap_note("%zu words of %zu; ended with %d", *done, most, code);
	EXPECT(*done > most / 2 && *done < most);
	if (!code) {
		lost = before - done[1];
		ktap_note("%llu MiB lost", (unsigned long long)lost >> 20);
		EXPECT(before < done[1] || lost < LIMIT + SLACK);
	}
	/* Others feel nothing of it. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", map_anonymous(1), words(1), 1));
	EXPECT(!rmdir(GROUP));
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "contexts of one user", .run = contexts_of_one_user },
		{ .name = "page tables are charged to whose they are", .run = tables_are_charged },
		{ .name = "page tables have a limit", .run = tables_have_a_limit, .seconds = 120 },
	};

	return ktap_main(argc, argv, "No user takes all", tests, sizeof(tests) / sizeof(tests[0]));
}
