// SPDX-License-Identifier: MIT
/* release() comes once for each mirror, and last, whichever way the mirror ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "row.h"

#define PAGES		16
#define FOR_EVER	1000000000000ULL
#define DRIVER		"/sys/bus/pci/drivers/devmodel/"

static void millisecond(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

/* So many mirrors have been made and released since the trace began. */
static void expect_lifetimes(size_t made, size_t released)
{
	unsigned int left;

	EXPECT_EQ(trace_count("devmodel_register"), made);
	/* The fault thread may be the last who holds the memory of a process. */
	for (left = 5000; left && trace_count("devmodel_release") < released; left--)
		millisecond();
	EXPECT_EQ(trace_count("devmodel_release"), released);
}

/* A mirror with all that can hang on it: tables, pages in HBM, a program at work. */
static int busy_mirror(void)
{
	int dev = devmodel_open(NULL);
	uint64_t *memory = map_anonymous(PAGES);
	struct devmodel_wait end;

	EXPECT_OK(dev);
	device_writes(dev, memory, PAGES, 1);
	if (model_now(dev) != DEVMODEL_MODEL_MIRROR)
		migrate_all(dev, memory, PAGES / 2, DEVMODEL_TARGET_DEVICE);
	EXPECT_OK(devmodel_launch(dev, "atomic_add", memory + words(PAGES - 1), FOR_EVER, 1));
	EXPECT_ERRNO(devmodel_wait(dev, 1, 1, &end), ETIME);
	return dev;
}

static void by_close(int dev)
{
	int copy;

	devmodel_close(dev);
	trace_begin_lifetimes();
	dev = busy_mirror();
	copy = dup(dev);
	EXPECT(copy >= 0);
	devmodel_close(dev);
	expect_lifetimes(1, 0);
	devmodel_close(copy);
	expect_lifetimes(1, 1);
	/* And the next one is another. */
	dev = busy_mirror();
	expect_lifetimes(2, 1);
	devmodel_close(dev);
	expect_lifetimes(2, 2);
}

static void by_kill(int dev)
{
	int told[2];
	pid_t child;
	char byte = 0;

	(void)dev;
	trace_begin_lifetimes();
	EXPECT(!pipe(told));
	child = fork();
	if (!child) {
		busy_mirror();
		EXPECT_EQ(write(told[1], &byte, 1), 1);
		for (;;)
			pause();
	}
	EXPECT_EQ(read(told[0], &byte, 1), 1);
	expect_lifetimes(1, 0);
	kill(child, SIGKILL);
	EXPECT_EQ(wait_child(child), 128 + SIGKILL);
	expect_lifetimes(1, 1);
}

/* Threads hold the address space until the last of them has gone. */
static void *linger(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

static void by_threads_exit(int dev)
{
	pthread_t thread;
	pid_t child;
	int i;

	(void)dev;
	trace_begin_lifetimes();
	child = fork();
	if (!child) {
		for (i = 0; i < 4; i++)
			EXPECT(!pthread_create(&thread, NULL, linger, NULL));
		busy_mirror();
		exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	expect_lifetimes(1, 1);
}

/* Advice on every other page. */
static void advise_pieces(int dev, const char *memory, int pieces)
{
	for (; pieces; pieces--, memory += 2 * page_size())
		EXPECT_OK(devmodel_advise(dev, memory, page_size(), DEVMODEL_POLICY_ON_TOUCH));
}

/*
 * What is kept of advice is a tree, whose shape depends on the number of pieces,
 * and which a kernel may take apart when nobody looks any more.
 */
static void much_advice(int dev)
{
	enum { MOST = 8000 };
	char *memory = map_anonymous(2 * MOST);
	pid_t child;
	int pieces, i;

	(void)dev;
	for (pieces = 250; pieces <= MOST; pieces *= 2) {
		child = fork();
		if (!child) {
			int own = devmodel_open(NULL);

			EXPECT_OK(own);
			advise_pieces(own, memory, pieces);
			/* Taken back as one piece, most of the tree goes, too. */
			EXPECT_OK(devmodel_advise(own, memory, 2 * pieces * page_size(),
						  DEVMODEL_POLICY_IN_PLACE));
			advise_pieces(own, memory, pieces);
			exit(0);
		}
		EXPECT_EQ(wait_child(child), 0);
	}
	/* Grace periods end, so that a kernel that panics then does so in this test. */
	for (i = 0; i < 500; i++)
		millisecond();
}

static void many(int dev)
{
	enum { PROCESSES = 8 };
	uint64_t mirrors = stats_now(dev).mirrors;
	pid_t child[PROCESSES];
	int i, go[2], told[2];
	char byte = 0;

	trace_begin_lifetimes();
	EXPECT(!pipe(go) && !pipe(told));
	for (i = 0; i < PROCESSES; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		close(go[1]);
		busy_mirror();
		EXPECT_EQ(write(told[1], &byte, 1), 1);
		EXPECT_EQ(read(go[0], &byte, 1), 0);
		_exit(0);
	}
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(read(told[0], &byte, 1), 1);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors + PROCESSES);
	expect_lifetimes(PROCESSES, 0);
	close(go[1]);
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(wait_child(child[i]), 0);
	expect_lifetimes(PROCESSES, PROCESSES);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
}

static void send_descriptor(int to, int dev)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &dev, sizeof(int));
	EXPECT_EQ(sendmsg(to, &message, 0), 1);
}

static int receive_descriptor(int from)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	int dev;

	EXPECT_EQ(recvmsg(from, &message, 0), 1);
	EXPECT(CMSG_FIRSTHDR(&message));
	memcpy(&dev, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return dev;
}

/* What another process may do with a descriptor that it was given: nothing but close it. */
static void expect_refused(int dev)
{
	uint64_t *memory = map_anonymous(1);
	struct devmodel_stats stats;
	struct devmodel_wait end;

	EXPECT_ERRNO(devmodel_stats(dev, &stats), EPERM);
	EXPECT_ERRNO(devmodel_launch(dev, "fill", memory, 1, 1), EPERM);
	EXPECT_ERRNO(devmodel_wait(dev, 1, 1, &end), EPERM);
	EXPECT_ERRNO(devmodel_migrate(dev, memory, page_size(), 1, NULL, NULL), EPERM);
	EXPECT_EQ(memory[0], 0);
}

/* A child that makes a mirror, passes it on and ends when told. */
static pid_t sender(int socket, int go)
{
	pid_t child = fork();
	char byte;

	if (child)
		return child;
	send_descriptor(socket, busy_mirror());
	EXPECT_EQ(read(go, &byte, 1), 1);
	_exit(0);
}

static void passed_sender_first(int dev)
{
	uint64_t mirrors = stats_now(dev).mirrors;
	int ends[2], go[2], passed;
	pid_t child;

	trace_begin_lifetimes();
	EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends) && !pipe(go));
	child = sender(ends[1], go[0]);
	passed = receive_descriptor(ends[0]);
	expect_refused(passed);
	expect_lifetimes(1, 0);
	EXPECT_EQ(write(go[1], "", 1), 1);
	EXPECT_EQ(wait_child(child), 0);
	/* The address space is gone, and with it the mirror; the file is not. */
	expect_lifetimes(1, 1);
	expect_refused(passed);
	devmodel_close(passed);
	expect_lifetimes(1, 1);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
}

static void passed_receiver_first(int dev)
{
	int ends[2], go[2];
	pid_t child;

	(void)dev;
	trace_begin_lifetimes();
	EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends) && !pipe(go));
	child = sender(ends[1], go[0]);
	devmodel_close(receive_descriptor(ends[0]));
	expect_lifetimes(1, 0);
	EXPECT_EQ(write(go[1], "", 1), 1);
	EXPECT_EQ(wait_child(child), 0);
	expect_lifetimes(1, 1);
}

static void passed_to_nobody(int dev)
{
	uint64_t mirrors = stats_now(dev).mirrors;
	int ends[2], go[2];
	pid_t child;

	trace_begin_lifetimes();
	EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends) && !pipe(go));
	child = sender(ends[1], go[0]);
	EXPECT_EQ(write(go[1], "", 1), 1);
	EXPECT_EQ(wait_child(child), 0);
	expect_lifetimes(1, 1);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors + 1);
	/* The descriptor is in the socket still; it goes with it. */
	close(ends[0]);
	close(ends[1]);
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
	expect_lifetimes(1, 1);
}

/* The name of the PCI function behind /dev/devmodel0. */
static void function_name(char *name, size_t size)
{
	char path[256] = "";

	EXPECT(readlink("/sys/class/misc/devmodel0/device", path, sizeof(path) - 1) > 0);
	snprintf(name, size, "%s", strrchr(path, '/') + 1);
}

/* Is HBM part of the machine's memory? */
static bool node_is_there(void)
{
	FILE *file = fopen("/proc/iomem", "r");
	bool found = false;
	char line[256];

	EXPECT(file);
	while (fgets(line, sizeof(line), file))
		found |= strstr(line, "System RAM (devmodel)") != NULL;
	fclose(file);
	return found;
}

static void by_unbind(int dev)
{
	uint64_t *memory = map_anonymous(PAGES), *counter = map_anonymous(1);
	bool hbm = model_now(dev) != DEVMODEL_MODEL_MIRROR;
	struct devmodel_wait end;
	char name[32];
	int64_t handle;

	devmodel_close(dev);
	trace_begin_lifetimes();
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	device_writes(dev, memory, PAGES, 3);
	counter[0] = 1;
	if (hbm) {
		migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
		migrate_all(dev, counter, 1, DEVMODEL_TARGET_DEVICE);
	}
	handle = devmodel_launch(dev, "atomic_add", counter, FOR_EVER, 1);
	EXPECT_OK(handle);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 1, &end), ETIME);
	function_name(name, sizeof(name));
	kernel_set(DRIVER "unbind", name);
	expect_lifetimes(1, 1);
	/* A page that the device had alone does not hold it up, nobody having touched it. */
	EXPECT(!node_is_there());
	EXPECT(counter[0] > 1);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 1000, &end), ENODEV);
	EXPECT_ERRNO(devmodel_launch(dev, "fill", memory, 1, 1), ENODEV);
	/* What was in HBM has come home. */
	EXPECT_PATTERN(memory, PAGES, 3);
	kernel_set(DRIVER "bind", name);
	/* The new device is another one; the old descriptor can only be closed. */
	EXPECT_ERRNO(devmodel_launch(dev, "fill", memory, 1, 1), ENODEV);
	devmodel_close(dev);
	expect_lifetimes(1, 1);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	device_reads(dev, memory, PAGES, 3);
}

/* Until told to stop: mirrors made, used and ended in all ways, on a device that comes and goes. */
static void __attribute__((noreturn)) live(const atomic_bool *stop, unsigned int seed)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct devmodel_wait end;
	unsigned int i;

	for (i = seed; !atomic_load(stop); i++) {
		int dev = devmodel_open(NULL);
		pid_t child;

		if (dev < 0) {
			EXPECT(errno == ENOENT || errno == ENODEV || errno == EIO);
			sched_yield();
			continue;
		}
		devmodel_launch(dev, "atomic_add", memory + words(1), FOR_EVER, 1);
		if (!devmodel_run(dev, &end, "fill", memory, words(1), i))
			EXPECT_EQ(memory[words(1) - 1], i);
		if (i % 2)
			devmodel_migrate(dev, memory, PAGES * page_size(),
					 DEVMODEL_TARGET_DEVICE, NULL, NULL);
		if (i % 5 == 0) {
			child = fork();
			if (!child) {
				/* The child's own, ended by a signal in the middle of something. */
				dev = devmodel_open(NULL);
				if (dev >= 0)
					devmodel_launch(dev, "atomic_add", memory, FOR_EVER, 1);
				raise(SIGKILL);
			}
			EXPECT_EQ(wait_child(child), 128 + SIGKILL);
		}
		devmodel_close(dev);
	}
	_exit(0);
}

static void races(int dev)
{
	enum { PROCESSES = 4, ROUNDS = 12 };
	atomic_bool *stop = map_shared(1);
	pid_t child[PROCESSES];
	size_t made;
	char name[32];
	int i, pause;

	devmodel_close(dev);
	function_name(name, sizeof(name));
	trace_begin_lifetimes();
	for (i = 0; i < PROCESSES; i++) {
		child[i] = fork();
		if (!child[i])
			live(stop, i);
	}
	for (i = 0; i < ROUNDS; i++) {
		/* A different number of mirrors each time. */
		for (pause = 0; pause < 20 + 10 * (i % 4); pause++)
			millisecond();
		kernel_set(DRIVER "unbind", name);
		/* Not even what a claim was under way for keeps it from leaving. */
		EXPECT(!node_is_there());
		kernel_set(DRIVER "bind", name);
	}
	atomic_store(stop, true);
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(wait_child(child[i]), 0);
	made = trace_count("devmodel_register");
	ktap_note("%zu mirrors, %d unbinds", made, ROUNDS);
	EXPECT(made > ROUNDS);
	expect_lifetimes(made, made);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
	EXPECT_EQ(stats_now(dev).mirrors, 1);
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, 0);
	EXPECT_EQ(stats_now(dev).page_table_pages, stats_now(dev).my_page_table_pages);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "released by the last close", .run = by_close },
		{ .name = "released by kill -9", .run = by_kill },
		{ .name = "released by exit of a process with threads", .run = by_threads_exit },
		{ .name = "released by exit after thousands of pieces of advice", .run = much_advice },
		{ .name = "released by unbind", .run = by_unbind },
		{ .name = "many processes, each released once", .run = many },
		{ .name = "a passed descriptor, the sender ends first", .run = passed_sender_first },
		{ .name = "a passed descriptor, the receiver closes first",
		  .run = passed_receiver_first },
		{ .name = "a passed descriptor that nobody takes", .run = passed_to_nobody },
		{ .name = "register, exit, kill and unbind racing", .run = races, .seconds = 120 },
	};

	return ktap_main(argc, argv, "Every mirror is released once", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
