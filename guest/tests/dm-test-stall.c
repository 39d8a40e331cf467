// SPDX-License-Identifier: MIT
/* A process stuck on memory that does not come delays nobody else, and can be killed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "row.h"
#include "stall.h"

#define FOR_EVER_MS	3600000
#define ROUNDS		200

static void millisecond(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

/* What the device is to do with page @page of the file. */
enum touch {
	TOUCH_READ,
	TOUCH_WRITE,
	TOUCH_ATOMIC,
	TOUCH_MIGRATE,
};

static void touch(int dev, void *memory, enum touch how)
{
	switch (how) {
	case TOUCH_MIGRATE:
		EXPECT_OK(devmodel_advise(dev, memory, page_size(), DEVMODEL_POLICY_ON_TOUCH));
		/* fall through */
	case TOUCH_READ:
		EXPECT_OK(devmodel_launch(dev, "sum", memory, 1));
		break;
	case TOUCH_WRITE:
		EXPECT_OK(devmodel_launch(dev, "fill", memory, 1, 1));
		break;
	case TOUCH_ATOMIC:
		EXPECT_OK(devmodel_launch(dev, "atomic_add", memory, 1, 1));
		break;
	}
}

/* A process whose device program waits for a page of the file; it is when this returns. */
static pid_t get_stuck(const struct stall *stall, size_t page, enum touch how)
{
	struct devmodel_wait end;
	pid_t child;
	int told[2];
	char byte;

	EXPECT(!pipe(told));
	child = fork();
	EXPECT(child >= 0);
	if (!child) {
		int fd = stall_open(stall), dev = devmodel_open(NULL);
		char *memory = stall_map(fd);

		/* Closing waits for the server, which answers. */
		close(fd);
		EXPECT_OK(dev);
		/* One READ for each page. */
		EXPECT(!madvise(memory, STALL_PAGES * page_size(), MADV_RANDOM));
		touch(dev, memory + page * page_size(), how);
		while (!stats_now(dev).my_device_faults)
			millisecond();
		EXPECT_EQ(write(told[1], "", 1), 1);
		devmodel_wait(dev, 1, FOR_EVER_MS, &end);
		_exit(end.status == DEVMODEL_STATUS_FAULT ? 0 : 1);
	}
	close(told[1]);
	EXPECT_EQ(read(told[0], &byte, 1), 1);
	close(told[0]);
	stall_wait(stall, 1);
	return child;
}

/* What it had is given back, but for what the stuck fault itself holds. */
static void kill_stuck(pid_t child)
{
	unsigned int left = 20000;
	int status;

	EXPECT(!kill(child, SIGKILL));
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (!left--)
			ktap_fail(__FILE__, __LINE__, "the stuck process cannot be killed");
		millisecond();
	}
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Launches that fault, each on memory that the device has not seen. */
static void others_go_on(int dev, int rounds)
{
	struct devmodel_wait end;
	int i;

	for (i = 0; i < rounds; i++) {
		uint64_t *memory = map_anonymous(2);

		EXPECT_OK(devmodel_run(dev, &end, "fill", memory, words(2), i + 1));
		EXPECT_EQ(memory[0], i + 1);
		EXPECT_EQ(memory[words(2) - 1], i + 1);
		EXPECT(!munmap(memory, 2 * page_size()));
	}
}

static void stuck_and_killed(int dev, enum touch how)
{
	struct stall stall = stall_begin();
	uint64_t mirrors = stats_now(dev).mirrors;
	pid_t child = get_stuck(&stall, 0, how);

	others_go_on(dev, ROUNDS);
	kill_stuck(child);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
	others_go_on(dev, ROUNDS / 10);
	stall_end(&stall);
}

static void by_read(int dev)
{
	stuck_and_killed(dev, TOUCH_READ);
}

static void by_write(int dev)
{
	stuck_and_killed(dev, TOUCH_WRITE);
}

static void by_atomic(int dev)
{
	stuck_and_killed(dev, TOUCH_ATOMIC);
}

static void by_migration(int dev)
{
	stuck_and_killed(dev, TOUCH_MIGRATE);
}

/* It comes to an end by itself once the memory turns out not to be had. */
static void file_system_ends(int dev)
{
	struct stall stall = stall_begin();
	pid_t child = get_stuck(&stall, 0, TOUCH_READ);

	others_go_on(dev, 1);
	stall_end(&stall);
	EXPECT_EQ(wait_child(child), 0);
}

static void many_stuck(int dev)
{
	struct stall stall = stall_begin();
	pid_t child[STALL_PAGES];
	int i;

	for (i = 0; i < STALL_PAGES; i++)
		child[i] = get_stuck(&stall, i, i % 2 ? TOUCH_READ : TOUCH_WRITE);
	others_go_on(dev, ROUNDS);
	for (i = 0; i < STALL_PAGES; i++)
		kill_stuck(child[i]);
	others_go_on(dev, 1);
	stall_end(&stall);
}

/* Workers that serve a fault and sleep where nothing wakes them but what they wait for. */
static size_t stuck_workers(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *process;
	size_t stuck = 0;

	EXPECT(processes);
	while ((process = readdir(processes))) {
		char path[300], line[256];
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/%s/stat", process->d_name);
		stat = fopen(path, "r");
		if (!stat)
			continue;
		/* "PID (kworker/u8:3+devmodel-faults) D ..." */
		stuck += fgets(line, sizeof(line), stat) && strstr(line, "+devmodel-faults) D");
		fclose(stat);
	}
	closedir(processes);
	return stuck;
}

/* Who is killed while stuck leaves a worker behind: that is his, too. */
static void no_more_than_others(int dev)
{
	enum { PROCESSES = 300, CONTEXTS = 256, USER = 1000 };
	struct stall stall = stall_begin();
	size_t refused = 0, stuck;
	pid_t children[PROCESSES];
	int told[2], i;
	char byte;

	EXPECT(!pipe(told));
	/* Nobody counts the READs. */
	for (i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		EXPECT(children[i] >= 0);
		if (!children[i]) {
			int fd, own;

			EXPECT(!setgid(USER) && !setuid(USER));
			fd = stall_open(&stall);
			own = devmodel_open(NULL);
			if (own < 0) {
				EXPECT_EQ(errno, EMFILE);
				EXPECT_EQ(write(told[1], "0", 1), 1);
				_exit(0);
			}
			touch(own, stall_map(fd), TOUCH_READ);
			while (!stats_now(own).my_device_faults)
				millisecond();
			EXPECT_EQ(write(told[1], "1", 1), 1);
			for (;;)
				pause();
		}
		EXPECT_EQ(read(told[0], &byte, 1), 1);
		refused += byte == '0';
		/* Its end waits for its worker for a while. */
		kill(children[i], SIGKILL);
	}
	for (i = 0; i < PROCESSES; i++)
		wait_child(children[i]);
	stuck = stuck_workers();
	others_go_on(dev, 1);
	stall_end(&stall);
	ktap_note("%zu workers of one user's at once, %zu processes refused", stuck, refused);
	/* Who was killed before its worker had got stuck left none behind. */
	EXPECT(refused);
	EXPECT(stuck > CONTEXTS / 2 && stuck <= CONTEXTS);
}

/* Its own memory, read through the kernel, whose mmap_lock is held while it does not come. */
static void *read_through_kernel(void *memory)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char byte;

	if (pread(fd, &byte, 1, (uintptr_t)memory) < 0)
		return NULL;
	return NULL;
}

static void *open_when_told(void *go)
{
	char byte;

	if (read(*(int *)go, &byte, 1) == 1)
		devmodel_open(NULL);
	return NULL;
}

/* Opening takes the address space's lock, and may wait for it. */
static void opening(int dev)
{
	struct stall stall = stall_begin();
	unsigned int left;
	pid_t child, other;
	int told[2], status;
	char byte;

	(void)dev;
	EXPECT(!pipe(told));
	child = fork();
	if (!child) {
		int fd = stall_open(&stall), go[2];
		void *memory = stall_map(fd);
		pthread_t thread;

		EXPECT(!madvise(memory, STALL_PAGES * page_size(), MADV_RANDOM) && !pipe(go));
		EXPECT(!pthread_create(&thread, NULL, open_when_told, go));
		EXPECT(!pthread_create(&thread, NULL, read_through_kernel, memory));
		stall_wait(&stall, 1);
		/* From here on this address space can map nothing. */
		EXPECT_EQ(write(go[1], "", 1), 1);
		EXPECT_EQ(write(told[1], "", 1), 1);
		for (;;)
			pause();
	}
	EXPECT_EQ(read(told[0], &byte, 1), 1);
	/* Again and again, as nothing tells when the first one has come to where it waits. */
	for (left = 50; left; left--) {
		unsigned int patience = 5000;

		other = fork();
		if (!other) {
			EXPECT_OK(devmodel_open(NULL));
			_exit(0);
		}
		while (waitpid(other, &status, WNOHANG) == 0) {
			if (!patience--)
				ktap_fail(__FILE__, __LINE__, "another's open waits, too");
			millisecond();
		}
		EXPECT_EQ(status, 0);
		millisecond();
	}
	kill(child, SIGKILL);
	stall_end(&stall);
	EXPECT_EQ(wait_child(child), 128 + SIGKILL);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "others go on while a read is stuck", .run = by_read },
		{ .name = "others go on while a write is stuck", .run = by_write },
		{ .name = "others go on while an atomic is stuck", .run = by_atomic },
		{ .name = "others go on while a migration is stuck", .run = by_migration,
		  .needs = KTAP_HBM },
		{ .name = "others go on while many are stuck", .run = many_stuck },
		{ .name = "workers that are stuck are of those a user may have",
		  .run = no_more_than_others, .needs = KTAP_MIRROR, .seconds = 120 },
		{ .name = "an open that waits holds up no other", .run = opening },
		{ .name = "a stuck program ends with the file system", .run = file_system_ends },
	};

	return ktap_main(argc, argv, "Who is stuck delays nobody", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
