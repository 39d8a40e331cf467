// SPDX-License-Identifier: MIT
/*
 * Processes and their mirrors: fork, exec, exit and kill. That all is given back
 * at the end is what the harness checks after every test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define FOR_EVER	1000000000000ULL

static void child_is_refused(int dev)
{
	struct devmodel_info info;
	struct devmodel_wait end;
	uint64_t *memory = map_anonymous(1);
	pid_t child = fork();

	if (!child) {
		EXPECT_ERRNO(devmodel_info(dev, &info), EPERM);
		EXPECT(strstr(devmodel_error(), "open it again"));
		EXPECT_ERRNO(devmodel_launch(dev, "fill", memory, 1, 1), EPERM);
		EXPECT_ERRNO(devmodel_wait(dev, 1, 1, &end), EPERM);
		EXPECT_ERRNO(devmodel_migrate(dev, memory, page_size(), 1, NULL, NULL), EPERM);
		/* But it may have a mirror of its own. */
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, 5));
		EXPECT_EQ(memory[0], 5);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_EQ(memory[0], 0);
	EXPECT_OK(devmodel_info(dev, &info));
}

/* Fork with the child held until the parent (by the device) has written. */
static void fork_and_differ(int dev, size_t pages, bool in_hbm)
{
	uint64_t *memory = map_anonymous(pages);
	struct devmodel_wait end;
	int go[2], told[2];
	char byte = 0;
	pid_t child;

	pattern_write(memory, pages, 1);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, 1, memory[0]));
	if (in_hbm)
		migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	EXPECT(!pipe(go) && !pipe(told));
	child = fork();
	if (!child) {
		EXPECT_EQ(read(go[0], &byte, 1), 1);
		EXPECT_PATTERN(memory, pages, 1);
		memory[1] = 77;
		EXPECT_EQ(write(told[1], &byte, 1), 1);
		EXPECT_EQ(read(go[0], &byte, 1), 1);
		EXPECT_EQ(memory[1], 77);
		EXPECT_EQ(memory[WORDS(pages) - 1] != 42, 1);
		_exit(0);
	}
	/* The device's next write faults, and breaks the sharing. */
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(pages), 42));
	EXPECT_EQ(write(go[1], &byte, 1), 1);
	EXPECT_EQ(read(told[0], &byte, 1), 1);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(pages)));
	EXPECT_EQ(end.result[0], 42 * WORDS(pages));
	EXPECT_EQ(memory[1], 42);
	EXPECT_EQ(write(go[1], &byte, 1), 1);
	EXPECT_EQ(wait_child(child), 0);
}

static void fork_in_place(int dev)
{
	fork_and_differ(dev, 16, false);
}

static void fork_in_hbm(int dev)
{
	fork_and_differ(dev, 16, true);
}

/* The child writes first; the parent's device must go on seeing the parent's bytes. */
static void fork_child_writes(int dev)
{
	uint64_t *memory = map_anonymous(8);
	struct devmodel_wait end;
	uint64_t sum;
	pid_t child;

	pattern_write(memory, 8, 2);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	sum = end.result[0];
	child = fork();
	if (!child) {
		memset(memory, 0, 8 * page_size());
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, WORDS(8)));
	EXPECT_EQ(end.result[0], sum);
	EXPECT_PATTERN(memory, 8, 2);
}

/* A program goes on writing through forks: each child has one moment's value. */
static void fork_while_running(int dev)
{
	volatile uint64_t *word = map_anonymous(1);
	int64_t handle = devmodel_launch(dev, "atomic_add", word, FOR_EVER, 1);
	struct devmodel_wait end;
	unsigned int i, tries;

	EXPECT_OK(handle);
	for (i = 0; i < 30; i++) {
		uint64_t before = *word;
		pid_t child = fork();

		if (!child) {
			uint64_t seen = *word;

			for (tries = 0; tries < 100000; tries++)
				if (*word != seen)
					_exit(1);
			_exit(seen < before);
		}
		EXPECT_EQ(wait_child(child), 0);
		for (tries = 0; *word <= before && tries < 10000; tries++)
			EXPECT_ERRNO(devmodel_wait(dev, handle, 1, &end), ETIME);
		EXPECT(*word > before);
	}
	munmap((void *)word, page_size());
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
}

/* What a process holds when it is killed: programs at work, pages in HBM, tables. */
static void __attribute__((noreturn)) hold_all(int ready)
{
	int dev = devmodel_open(NULL);
	uint64_t *memory = map_anonymous(600);
	struct devmodel_wait end;
	char byte = 0;
	int i;

	EXPECT_OK(dev);
	EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(600), 1));
	if (model_now(dev) != DEVMODEL_MODEL_MIRROR)
		migrate_all(dev, memory, 600, DEVMODEL_TARGET_DEVICE);
	for (i = 0; i < 8; i++)
		EXPECT_OK(devmodel_launch(dev, "atomic_add", memory + i * WORDS(10), FOR_EVER, 1));
	EXPECT_ERRNO(devmodel_wait(dev, 1, 20, &end), ETIME);
	EXPECT_EQ(write(ready, &byte, 1), 1);
	for (;;)
		pause();
}

static void killed(int dev)
{
	struct devmodel_stats stats;
	int ready[2], i;
	char byte;
	pid_t child;

	EXPECT(!pipe(ready));
	for (i = 0; i < 3; i++) {
		child = fork();
		if (!child)
			hold_all(ready[1]);
		EXPECT_EQ(read(ready[0], &byte, 1), 1);
		stats = stats_now(dev);
		EXPECT_EQ(stats.mirrors, 2);
		EXPECT(stats.page_table_pages > stats.my_page_table_pages);
		if (model_now(dev) != DEVMODEL_MODEL_MIRROR)
			/* An atomic brings coherent HBM home. */
			EXPECT(stats.hbm_bytes_in_use >= (600 - 8) * page_size());
		kill(child, SIGKILL);
		EXPECT_EQ(wait_child(child), 128 + SIGKILL);
	}
}

static void exits_while_running(int dev)
{
	uint64_t *memory = map_anonymous(64);
	int i;

	for (i = 0; i < 16; i++)
		EXPECT_OK(devmodel_launch(dev, "atomic_add", memory + i * WORDS(4), FOR_EVER, 1));
}

static void closes_while_running(int dev)
{
	uint64_t *memory = map_anonymous(64);
	struct devmodel_wait end;
	uint64_t then;
	int i;

	for (i = 0; i < 16; i++)
		EXPECT_OK(devmodel_launch(dev, "atomic_add", memory + i * WORDS(4), FOR_EVER, 1));
	EXPECT_ERRNO(devmodel_wait(dev, 1, 20, &end), ETIME);
	devmodel_close(dev);
	/* Closed: the device has stopped. */
	then = *(volatile uint64_t *)memory;
	nanosleep(&(struct timespec) { .tv_nsec = 20000000 }, NULL);
	EXPECT_EQ(*(volatile uint64_t *)memory, then);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	EXPECT_ERRNO(devmodel_wait(dev, 1, 1, &end), ESRCH);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
	EXPECT_EQ(end.result[0], then);
}

static void exec_releases(int dev)
{
	uint64_t *memory = map_anonymous(8);
	char number[16], *arguments[] = { "dm-test-process", "--after-exec", number, NULL };
	pid_t child = fork();

	if (!child) {
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		EXPECT_OK(devmodel_launch(dev, "atomic_add", memory, FOR_EVER, 1));
		/* The descriptor stays open over exec; the mirror of the old memory does not. */
		EXPECT(!fcntl(dev, F_SETFD, 0));
		snprintf(number, sizeof(number), "%d", dev);
		execv("/proc/self/exe", arguments);
		_exit(127);
	}
	EXPECT_EQ(wait_child(child), 0);
}

static int after_exec(int dev)
{
	struct devmodel_info info;
	int fresh;

	if (!devmodel_info(dev, &info) || errno != EPERM)
		return 1;
	fresh = devmodel_open(NULL);
	return fresh < 0 || devmodel_info(fresh, &info);
}

/* The parent goes first; the child's copy of the descriptor is the last one. */
static void outlived_by_child(int dev)
{
	uint64_t *memory = map_anonymous(64);
	struct devmodel_wait end;
	int held[2];
	char byte;
	pid_t first;

	(void)dev;
	EXPECT(!pipe(held));
	first = fork();
	if (!first) {
		int own = devmodel_open(NULL);

		EXPECT_OK(own);
		EXPECT_OK(devmodel_launch(own, "atomic_add", memory, FOR_EVER, 1));
		if (fork()) {
			EXPECT_ERRNO(devmodel_wait(own, 1, 20, &end), ETIME);
			_exit(0);
		}
		close(held[1]);
		nanosleep(&(struct timespec) { .tv_nsec = 200000000 }, NULL);
		EXPECT_ERRNO(devmodel_wait(own, 1, 1, &end), EPERM);
		_exit(0);
	}
	close(held[1]);
	EXPECT_EQ(wait_child(first), 0);
	/* The grandchild's end of the pipe closes when it is gone. */
	EXPECT_EQ(read(held[0], &byte, 1), 0);
}

static void many_processes(int dev)
{
	pid_t child[8];
	int i, round;

	for (i = 0; i < 8; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		for (round = 0; round < 5; round++) {
			uint64_t *memory = map_anonymous(32);
			struct devmodel_wait end;

			dev = devmodel_open(NULL);
			EXPECT_OK(dev);
			pattern_write(memory, 32, i);
			if (model_now(dev) != DEVMODEL_MODEL_MIRROR)
				EXPECT_OK(devmodel_migrate(dev, memory, 16 * page_size(),
							   DEVMODEL_TARGET_DEVICE, NULL, NULL));
			EXPECT_OK(devmodel_run(dev, &end, "fill", memory, WORDS(1), i));
			EXPECT_EQ(memory[WORDS(1) - 1], (uint64_t)i);
			pattern_write(memory, 1, i);
			EXPECT_PATTERN(memory, 32, i);
			munmap(memory, 32 * page_size());
			devmodel_close(dev);
		}
		_exit(0);
	}
	for (i = 0; i < 8; i++)
		EXPECT_EQ(wait_child(child[i]), 0);
}

static void opens_and_closes(int dev)
{
	struct devmodel_wait end;
	uint64_t *memory = map_anonymous(1);
	int i;

	for (i = 0; i < 200; i++) {
		devmodel_close(dev);
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		if (i % 3 == 0)
			EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory, 1, 1));
		if (i % 3 == 1)
			EXPECT_OK(devmodel_launch(dev, "fill", memory + 1, 1, i));
	}
	EXPECT_EQ(memory[0], 67);
}

static void *run_adds(void *argument)
{
	uint64_t *word = ((void **)argument)[0];
	int dev = *(int *)((void **)argument)[1];
	struct devmodel_wait end;
	int i;

	for (i = 0; i < 20; i++)
		EXPECT_OK(devmodel_run(dev, &end, "atomic_add", word, 10, 1));
	return NULL;
}

static void threads_share_it(int dev)
{
	uint64_t *memory = map_anonymous(2);
	void *arguments[6][2];
	pthread_t thread[6];
	int i;

	for (i = 0; i < 6; i++) {
		arguments[i][0] = memory + i;
		arguments[i][1] = &dev;
		EXPECT(!pthread_create(&thread[i], NULL, run_adds, arguments[i]));
	}
	for (i = 0; i < 6; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < 6; i++)
		EXPECT_EQ(memory[i], 200);
}

static void ignore(int number)
{
	(void)number;
}

static void signals_end_waits(int dev)
{
	struct sigaction action = { .sa_handler = ignore };
	uint64_t *memory = map_anonymous(1);
	int64_t handle = devmodel_launch(dev, "atomic_add", memory, FOR_EVER, 1);
	struct devmodel_wait end;

	EXPECT_OK(handle);
	EXPECT(!sigaction(SIGALRM, &action, NULL));
	alarm(1);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 20000, &end), EINTR);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 1, &end), ETIME);
	munmap(memory, page_size());
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
}

static void *wait_for_fault(void *argument)
{
	struct devmodel_wait end;
	int dev = *(int *)argument;

	EXPECT_OK(devmodel_wait(dev, 1, 20000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
	return NULL;
}

/* Nobody handles a signal here: being stopped and continued is no end of a wait. */
static void stops_end_no_waits(int dev)
{
	int i, status;
	pid_t child;

	devmodel_close(dev);
	child = fork();
	if (!child) {
		uint64_t *memory = map_anonymous(1);
		pthread_t thread;

		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		EXPECT_EQ(devmodel_launch(dev, "atomic_add", memory, FOR_EVER, 1), 1);
		EXPECT(!pthread_create(&thread, NULL, wait_for_fault, &dev));
		for (i = 0; i < 5; i++) {
			nanosleep(&(struct timespec) { .tv_nsec = 5000000 }, NULL);
			raise(SIGSTOP);
		}
		munmap(memory, page_size());
		pthread_join(thread, NULL);
		_exit(0);
	}
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
		EXPECT(WIFSTOPPED(status));
		kill(child, SIGCONT);
	}
	EXPECT_EQ(wait_child(child), 0);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "a child of fork is refused, and opens its own", .run = child_is_refused },
		{ .name = "fork: parent and child differ, in place", .run = fork_in_place },
		{ .name = "fork: parent and child differ, in HBM", .run = fork_in_hbm, .needs = KTAP_HBM },
		{ .name = "fork: a write of the child is the child's", .run = fork_child_writes },
		{ .name = "fork while a program runs", .run = fork_while_running },
		{ .name = "kill -9 gives everything back", .run = killed },
		{ .name = "exit while programs run", .run = exits_while_running },
		{ .name = "close while programs run", .run = closes_while_running },
		{ .name = "exec releases the mirror", .run = exec_releases },
		{ .name = "a mirror is outlived by a descriptor", .run = outlived_by_child },
		{ .name = "eight processes at once", .run = many_processes },
		{ .name = "200 times open and close", .run = opens_and_closes },
		{ .name = "threads share a mirror", .run = threads_share_it },
		{ .name = "a signal ends a wait, not the program", .run = signals_end_waits },
		{ .name = "a stop ends no wait", .run = stops_end_no_waits },
	};

	if (argc == 3 && !strcmp(argv[1], "--after-exec"))
		return after_exec(atoi(argv[2]));
	return ktap_main(argc, argv, "Processes and their mirrors", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
