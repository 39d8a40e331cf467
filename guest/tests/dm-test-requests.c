// SPDX-License-Identifier: MIT
/* Random requests of a user without privileges: each has an answer, and nobody else feels it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "../lib/random.h"
#include "ktap.h"

#define USER		1000
#define USERS		4
#define REQUESTS	2500	/* of each */
#define PAGES		64L
/* A request that waits is interrupted; it has begun by then. */
#define PATIENCE_US	20000

/* What is told of the requests: how many had which end. */
struct ends {
	long ok, refused, interrupted;
};

static struct random random_state;

static uint64_t any(void)
{
	return random_next(&random_state);
}

static bool one_in(unsigned int n)
{
	return any() % n == 0;
}

/* An address, most of the time one of ours and whole pages. */
static uint64_t address(const char *memory)
{
	static const uint64_t strange[] = {
		0, 1, 4096, 1ULL << 47, (1ULL << 47) - 4096, 0xffff888000000000, 0xffffffff81000000,
		~0ULL, ~0ULL << 12, 1ULL << 63,
	};

	if (one_in(8))
		return strange[any() % (sizeof(strange) / sizeof(strange[0]))];
	if (one_in(16))
		return any();
	return (uintptr_t)memory + any() % PAGES * page_size() + (one_in(8) ? any() % page_size() : 0);
}

static uint64_t length(void)
{
	if (one_in(16))
		return any();
	if (one_in(16))
		return -(any() % 4) * page_size();
	return any() % (PAGES + 2) * page_size() + (one_in(8) ? any() % page_size() : 0);
}

static uint32_t few(unsigned int known)
{
	return one_in(16) ? any() : any() % (known + 1);
}

static void fill_launch(struct devmodel_launch *launch, const char *memory)
{
	static const char * const programs[] = {
		"fill", "sum", "copy", "atomic_add", "list_walk", "fill@elsewhere", "", "..",
	};
	int i;

	snprintf(launch->program, sizeof(launch->program), "%s",
		 programs[any() % (sizeof(programs) / sizeof(programs[0]))]);
	launch->nargs = few(8);
	launch->flags = one_in(16) ? any() : 0;
	for (i = 0; i < 8; i++)
		launch->args[i] = i % 2 ? any() % 4096 : address(memory);
}

/* One request. Its argument is right in most of its fields, or random as a whole. */
static int request(int dev, char *memory, uint64_t *handle)
{
	union {
		struct devmodel_info info;
		struct devmodel_launch launch;
		struct devmodel_wait wait;
		struct devmodel_migrate migrate;
		struct devmodel_advise advise;
		struct devmodel_snapshot snapshot;
		struct devmodel_stats stats;
		uint64_t word[128];
	} argument = {};
	static const unsigned long known[] = {
		DEVMODEL_IOC_INFO, DEVMODEL_IOC_LAUNCH, DEVMODEL_IOC_WAIT, DEVMODEL_IOC_MIGRATE,
		DEVMODEL_IOC_ADVISE, DEVMODEL_IOC_SNAPSHOT, DEVMODEL_IOC_STATS,
	};
	unsigned long command = known[any() % (sizeof(known) / sizeof(known[0]))];
	size_t i;
	int ret;

	switch (command) {
	case DEVMODEL_IOC_LAUNCH:
		fill_launch(&argument.launch, memory);
		break;
	case DEVMODEL_IOC_WAIT:
		argument.wait.handle = one_in(4) ? any() : *handle - any() % 4;
		argument.wait.timeout_ms = one_in(4) ? any() : any() % 8;
		break;
	case DEVMODEL_IOC_MIGRATE:
		argument.migrate.address = address(memory);
		argument.migrate.length = length();
		argument.migrate.target = few(2);
		argument.migrate.flags = one_in(16) ? any() : 0;
		argument.migrate.outcomes = one_in(2) ? 0 : address(memory);
		break;
	case DEVMODEL_IOC_ADVISE:
		argument.advise.address = address(memory);
		argument.advise.length = length();
		argument.advise.policy = few(4);
		argument.advise.flags = one_in(16) ? any() : 0;
		break;
	case DEVMODEL_IOC_SNAPSHOT:
		argument.snapshot.address = address(memory);
		argument.snapshot.length = length();
		argument.snapshot.cpu = address(memory);
		argument.snapshot.device = address(memory);
		break;
	}
	if (one_in(32))
		for (i = 0; i < sizeof(argument.word) / sizeof(argument.word[0]); i++)
			argument.word[i] = any();
	if (one_in(32))
		command = one_in(2) ? any() : command ^ 1UL << any() % 32;
	ret = ioctl(dev, command, one_in(32) ? (void *)address(memory) : &argument);
	if (!ret && command == DEVMODEL_IOC_LAUNCH)
		*handle = argument.launch.handle;
	return ret;
}

/* What becomes of the memory meanwhile. */
static void change(char *memory)
{
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	char *at = memory + any() % PAGES * page_size();
	size_t bytes = (1 + any() % 8) * page_size();
	int advice = one_in(2) ? MADV_DONTNEED : MADV_PAGEOUT;

	if (at + bytes > memory + PAGES * page_size())
		return;
	switch (any() % 4) {
	case 0:
		mprotect(at, bytes, protections[any() % 3]);
		break;
	case 1:
		munmap(at, bytes);
		break;
	case 2:
		EXPECT(mmap(at, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
		break;
	case 3:
		madvise(at, bytes, advice);
		break;
	}
}

static void interrupted(int signal)
{
	(void)signal;
}

static void user(uint64_t seed, struct ends *ends)
{
	struct itimerval patience = { .it_interval.tv_usec = PATIENCE_US,
				      .it_value.tv_usec = PATIENCE_US };
	struct sigaction action = { .sa_handler = interrupted };
	char *memory = map_anonymous(PAGES);
	uint64_t handle = 0;
	int dev, i;

	EXPECT(!setgroups(0, NULL) && !setgid(USER) && !setuid(USER));
	random_state.state = seed;
	dev = open(DEVMODEL_DEFAULT_PATH, O_RDWR | O_CLOEXEC);
	EXPECT(dev >= 0);
	EXPECT(!sigaction(SIGALRM, &action, NULL));
	EXPECT(!setitimer(ITIMER_REAL, &patience, NULL));
	for (i = 0; i < REQUESTS; i++) {
		if (!request(dev, memory, &handle))
			ends->ok++;
		else if (errno == EINTR)
			ends->interrupted++;
		else
			ends->refused++;
		if (one_in(4))
			change(memory);
	}
	/* What still runs ends with its process. */
	_exit(0);
}

static void random_requests(int dev)
{
	uint64_t mirrors = stats_now(dev).mirrors;
	struct ends *ends = map_shared(1);
	struct devmodel_wait end;
	pid_t child[USERS];
	int i;

	for (i = 0; i < USERS; i++) {
		child[i] = fork();
		EXPECT(child[i] >= 0);
		if (!child[i])
			user(i + 1, &ends[i]);
	}
	for (i = 0; i < USERS; i++) {
		EXPECT_EQ(wait_child(child[i]), 0);
		ktap_note("seed %d: %ld ok, %ld refused, %ld interrupted", i + 1, ends[i].ok,
			  ends[i].refused, ends[i].interrupted);
		EXPECT(ends[i].ok > REQUESTS / 20 && ends[i].refused > REQUESTS / 20);
	}
	EXPECT_EQ(stats_now(dev).mirrors, mirrors);
	EXPECT_OK(devmodel_run(dev, &end, "fill", map_anonymous(1), page_size() / 8, 1));
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "random requests of users", .run = random_requests, .seconds = 240 },
	};

	return ktap_main(argc, argv, "A user may ask for anything", tests, 1);
}
