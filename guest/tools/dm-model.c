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
};

/* How often of 1000. */
static const unsigned int weights[WHATS] = {
	[CPU_READ] = 320,
	[CPU_WRITE] = 240,
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
};

struct run run;

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
	size_t size = run.model.page_size, count;

	*op = (struct operation) {
		.number = run.number, .what = choose(), .value = random_next(&run.random),
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
		count = 1 + random_below(&run.random, op->what >= PROTECT && op->what <= DISCARD ? 8 : 32);
		count = count < run.model.pages ? count : run.model.pages;
		op->offset = random_below(&run.random, run.model.pages - count + 1) * size;
		op->length = count * size;
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
			fprintf(stderr, "dm-model: %llu of %llu, %.1f s\n", (unsigned long long)run.number,
				(unsigned long long)operations, now() - begin);
		}
	}
	compare_all();
	reap();
}

static void report(uint64_t seed, double seconds)
{
	enum what what;

	printf("dm-model: %llu operations agree: model %s, seed %llu, %.1f s\n",
	       (unsigned long long)run.number, devmodel_model_name(run.memory_model),
	       (unsigned long long)seed, seconds);
	for (what = 0; what < WHATS; what++)
		printf("  %-18s %llu\n", what_names[what], (unsigned long long)done[what]);
	printf("  %-18s %llu\n  %-18s %llu\n", "refused rightly", (unsigned long long)run.refusals,
	       "pages moved", (unsigned long long)run.pages_moved);
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "ops", required_argument, NULL, 'o' },
		{ "pages", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t operations = 100000, pages = 1024, seed = time(NULL);
	struct devmodel_info info;
	unsigned int i;
	double begin;
	int option;

	while ((option = getopt_long(argc, argv, "ho:p:s:v", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			operations = number_of(optarg);
			break;
		case 'p':
			pages = number_of(optarg);
			break;
		case 's':
			seed = number_of(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			printf("usage: dm-model [--ops N] [--seed N] [--pages N] [--verbose]\n"
			       "Random operations of CPU and device over a process's memory, compared with a\n"
			       "plain model. The same seed gives the same operations. Exit code 1: they\n"
			       "disagree; the operations that led there are on stderr.\n");
			return option == 'h' ? 0 : 2;
		}
	}
	if (pages < 16 || pages > MODEL_MAX_PAGES) {
		fprintf(stderr, "dm-model: use 16 to %d pages\n", MODEL_MAX_PAGES);
		return 2;
	}
	run.dev = devmodel_open(NULL);
	if (run.dev < 0 || devmodel_info(run.dev, &info)) {
		fprintf(stderr, "dm-model: %s\n", devmodel_error());
		return 2;
	}
	run.memory_model = info.model;
	run.random.state = seed;
	model_init(&run.model, pages);
	for (i = 0; i < MAX_PENDING; i++)
		run.pending[i].scratch = aligned_alloc(run.model.page_size, SCRATCH);
	for (i = 0; i < pages; i += 16)
		model_map(&run.model, i, pages - i < 16 ? pages - i : 16, KIND_PRIVATE + i / 16 % 4);
	fprintf(stderr, "dm-model: seed %llu, model %s, %llu pages\n", (unsigned long long)seed,
		devmodel_model_name(run.memory_model), (unsigned long long)pages);
	begin = now();
	do_all(operations);
	report(seed, now() - begin);
	return 0;
}
