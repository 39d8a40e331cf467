// SPDX-License-Identifier: MIT
/*
 * Random operations of CPU and device over a process's memory, compared with a
 * plain model of it. Device programs run side by side with all operations that
 * do not touch the same bytes, so pages move and change under them.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "model_run.h"

const char *const what_names[WHATS] = {
	[CPU_READ] = "cpu read",
	[CPU_WRITE] = "cpu write",
	[DEVICE_READ] = "device read",
	[DEVICE_FILL] = "device fill",
	[DEVICE_COPY] = "device copy",
	[DEVICE_ADD] = "device add",
	[DEVICE_SUM] = "device sum",
	[TO_DEVICE] = "migrate to device",
	[TO_SYSTEM] = "migrate to system",
	[ADVISE] = "advise",
	[PROTECT] = "mprotect",
	[UNMAP] = "munmap",
	[MAP] = "mmap",
	[MAP_HUGE] = "mmap huge",
	[DISCARD] = "discard",
	[SNAPSHOT] = "snapshot",
	[FORK] = "fork",
	[PAGE_OUT] = "page out",
	[MAKE_COLD] = "make cold",
	[MAKE_EQUAL] = "make equal",
	[MOVE] = "mremap",
	[SCATTER] = "scatter over nodes",
	[LOCK] = "mlock",
};

/* How often of 1000. */
static const unsigned int weights[WHATS] = {
	[CPU_READ] = 280,
	[CPU_WRITE] = 230,
	[DEVICE_READ] = 100,
	[DEVICE_FILL] = 80,
	[DEVICE_COPY] = 50,
	[DEVICE_ADD] = 30,
	[DEVICE_SUM] = 25,
	[TO_DEVICE] = 40,
	[TO_SYSTEM] = 20,
	[ADVISE] = 15,
	[PROTECT] = 30,
	[UNMAP] = 8,
	[MAP] = 19,
	[MAP_HUGE] = 1,
	[DISCARD] = 10,
	[SNAPSHOT] = 9,
	[FORK] = 3,
	[PAGE_OUT] = 10,
	[MAKE_COLD] = 3,
	[MAKE_EQUAL] = 9,
	[MOVE] = 6,
	[SCATTER] = 18,
	[LOCK] = 4,
};

struct run run;

/* What all processes did, added up as they end. */
struct totals {
	uint64_t operations, done[WHATS], refusals, pages_moved;
};

static struct totals *totals;
static uint64_t done[WHATS];
static bool verbose;

static enum what choose(void)
{
	unsigned int at = random_below(&run.random, 1000);
	enum what what;

	for (what = 0; at >= weights[what]; what++)
		at -= weights[what];
	return what;
}

/* Mostly short, sometimes a few pages. */
static size_t some_bytes(void)
{
	size_t most = random_below(&run.random, 8) ? 128 : 6 * run.model.page_size;
	/* A copy must find room for its source, wherever it is. */
	size_t limit = run.model.pages * run.model.page_size / 3 - 8;

	return 8 + random_below(&run.random, most < limit ? most : limit);
}

static size_t some_place(size_t length)
{
	return random_below(&run.random, run.model.pages * run.model.page_size - length + 1);
}

static void make(struct operation *op)
{
	size_t size = run.model.page_size, count, limit;
	bool few;

	*op = (struct operation) {
		.number = run.number, .what = choose(), .value = random_next(&run.random),
		.device = random_below(&run.random, run.ndevices),
	};
	switch (op->what) {
	case CPU_READ ... DEVICE_SUM:
		op->length = op->what == DEVICE_ADD ? 8 : some_bytes();
		if (op->what >= DEVICE_FILL && op->what != DEVICE_COPY)
			op->length &= -8UL;
		op->offset = some_place(op->length);
		if (op->what == DEVICE_ADD)
			op->offset &= -8UL;
		do
			op->source = some_place(op->length);
		while (op->what == DEVICE_COPY && op->source < op->offset + op->length &&
		       op->offset < op->source + op->length);
		break;
	case FORK:
		op->offset = some_place(8);
		break;
	case MAP_HUGE:
		if (run.model.pages * size >= MODEL_HUGE) {
			count = run.model.pages * size / MODEL_HUGE;
			op->offset = random_below(&run.random, count) * MODEL_HUGE;
			op->length = MODEL_HUGE;
			break;
		}
		op->what = MAP;
		/* fallthrough */
	default:
		few = (op->what >= PROTECT && op->what <= DISCARD) || op->what >= MAKE_EQUAL;
		count = 1 + random_below(&run.random, few ? 8 : 32);
		/* A move must find room for its source, wherever it goes. */
		limit = op->what == MOVE ? run.model.pages / 3 : run.model.pages;
		count = count < limit ? count : limit;
		op->offset = random_below(&run.random, run.model.pages - count + 1) * size;
		op->length = count * size;
		if (op->what != MOVE)
			break;
		do
			op->source = random_below(&run.random, run.model.pages - count + 1) * size;
		while (op->source < op->offset + op->length && op->offset < op->source + op->length);
	}
}

static void perform(struct operation *op)
{
	switch (op->what) {
	case CPU_READ:
	case CPU_WRITE:
		run_cpu(op);
		break;
	case DEVICE_READ ... DEVICE_SUM:
		run_device(op);
		break;
	case TO_DEVICE:
	case TO_SYSTEM:
		run_migration(op);
		break;
	case ADVISE:
		run_advice(op);
		break;
	case SNAPSHOT:
		run_snapshot(op);
		break;
	case FORK:
		run_fork(op);
		break;
	case PAGE_OUT ... LOCK:
		run_kernel(op);
		break;
	default:
		run_change(op);
	}
}

static void compare_all(void)
{
	size_t page;

	finish_all();
	for (page = 0; page < run.model.pages; page++)
		if (page_allows(&run.model, page, false))
			compare(page * run.model.page_size, run.model.page_size, "the CPU reads");
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void do_all(uint64_t operations)
{
	uint64_t part = operations / 10 ? operations / 10 : 1;
	double begin = now();

	while (run.number < operations) {
		struct operation *op = &run.history[++run.number % HISTORY];

		make(op);
		if (verbose)
			print_operation(op);
		perform(op);
		done[op->what]++;
		if (run.number % part == 0) {
			compare_all();
			if (!run.process)
				fprintf(stderr, "dm-model: %llu of %llu, %.1f s\n",
					(unsigned long long)run.number,
					(unsigned long long)operations, now() - begin);
		}
	}
	compare_all();
	reap();
}

static void add_up(void)
{
	enum what what;

	__atomic_fetch_add(&totals->operations, run.number, __ATOMIC_RELAXED);
	for (what = 0; what < WHATS; what++)
		__atomic_fetch_add(&totals->done[what], done[what], __ATOMIC_RELAXED);
	__atomic_fetch_add(&totals->refusals, run.refusals, __ATOMIC_RELAXED);
	__atomic_fetch_add(&totals->pages_moved, run.pages_moved, __ATOMIC_RELAXED);
}

static uint64_t number_of(const char *text)
{
	char *rest;
	uint64_t value = strtoull(text, &rest, 0);

	if (*rest || rest == text) {
		fprintf(stderr, "dm-model: '%s' is not a number\n", text);
		exit(2);
	}
	return value;
}

struct settings {
	uint64_t operations, pages, seed, processes;
	const char *path[MAX_DEVICES];
	unsigned int devices;
};

static int open_devices(const struct settings *settings)
{
	struct devmodel_info info;
	unsigned int i;

	for (i = 0; i < settings->devices; i++) {
		int fd = devmodel_open(settings->path[i]);

		if (fd < 0 || devmodel_info(fd, &info))
			return -1;
		run.device[i] = (struct device) { .fd = fd, .model = info.model };
	}
	run.ndevices = settings->devices;
	return 0;
}

/* What one process does. */
static int run_one(const struct settings *settings, unsigned int process)
{
	size_t pages = settings->pages, i;

	run.process = process;
	if (open_devices(settings)) {
		fprintf(stderr, "dm-model: %s\n", devmodel_error());
		return 2;
	}
	run.random.state = settings->seed + process;
	model_init(&run.model, pages);
	for (i = 0; i < MAX_PENDING; i++)
		run.pending[i].scratch = aligned_alloc(run.model.page_size, SCRATCH);
	for (i = 0; i < pages; i += 16)
		model_map(&run.model, i, pages - i < 16 ? pages - i : 16, KIND_PRIVATE + i / 16 % 4);
	fprintf(stderr, "dm-model: seed %llu, %u devices, %zu pages\n",
		(unsigned long long)run.random.state, run.ndevices, pages);
	do_all(settings->operations / settings->processes);
	add_up();
	return 0;
}

/* All of them at the same time. Return: the exit code, the worst of theirs. */
static int run_all(const struct settings *settings)
{
	unsigned int i;
	int status, worst = 0;

	for (i = 0; i < settings->processes; i++) {
		fflush(NULL);
		switch (fork()) {
		case -1:
			perror("dm-model: fork");
			return 2;
		case 0:
			exit(run_one(settings, i));
		}
	}
	while (wait(&status) > 0) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

		worst = code > worst ? code : worst;
	}
	return worst;
}

static void report(const struct settings *settings, double seconds)
{
	enum what what;
	unsigned int i;

	printf("dm-model: %llu operations agree: model ", (unsigned long long)totals->operations);
	/* For their names; the processes had them open for themselves. */
	if (!run.ndevices && open_devices(settings))
		printf("?");
	for (i = 0; i < run.ndevices; i++)
		printf("%s%s", i ? " and " : "", devmodel_model_name(run.device[i].model));
	printf(", seed %llu, %.1f s\n", (unsigned long long)settings->seed, seconds);
	for (what = 0; what < WHATS; what++)
		printf("  %-18s %llu\n", what_names[what], (unsigned long long)totals->done[what]);
	printf("  %-18s %llu\n  %-18s %llu\n", "refused rightly",
	       (unsigned long long)totals->refusals, "pages moved",
	       (unsigned long long)totals->pages_moved);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "ops", required_argument, NULL, 'o' },
		{ "pages", required_argument, NULL, 'p' },
		{ "processes", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct settings settings = {
		.operations = 100000, .pages = 1024, .seed = time(NULL), .processes = 1,
	};
	double begin = now();
	int option, code;

	while ((option = getopt_long(argc, argv, "d:hn:o:p:s:v", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			if (settings.devices < MAX_DEVICES)
				settings.path[settings.devices++] = optarg;
			break;
		case 'n':
			settings.processes = number_of(optarg);
			break;
		case 'o':
			settings.operations = number_of(optarg);
			break;
		case 'p':
			settings.pages = number_of(optarg);
			break;
		case 's':
			settings.seed = number_of(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			printf("usage: dm-model [--ops N] [--seed N] [--pages N] [--processes N]\n"
			       "                [--device PATH ...] [--verbose]\n"
			       "Random operations of CPU and devices over a process's memory, compared with a\n"
			       "plain model. The same seed gives the same operations. Exit code 1: they\n"
			       "disagree; the operations that led there are on stderr. Several processes\n"
			       "share the operations; each is mirrored on every device.\n");
			return option == 'h' ? 0 : 2;
		}
	}
	if (settings.pages < 16 || settings.pages > MODEL_MAX_PAGES) {
		fprintf(stderr, "dm-model: use 16 to %d pages\n", MODEL_MAX_PAGES);
		return 2;
	}
	if (settings.processes < 1 || settings.processes > 64) {
		fprintf(stderr, "dm-model: use 1 to 64 processes\n");
		return 2;
	}
	/* The default device. */
	if (!settings.devices)
		settings.devices = 1;
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (totals == MAP_FAILED) {
		perror("dm-model: mmap");
		return 2;
	}
	code = settings.processes == 1 ? run_one(&settings, 0) : run_all(&settings);
	if (!code)
		report(&settings, now() - begin);
	return code;
}
