// SPDX-License-Identifier: MIT
/* See frame.h. */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../lib/nodes.h"
#include "../uapi/devmodel_stats.h"
#include "frame.h"

#define MAX_RANGES	16
#define MOST_COMPLAINTS	20

struct range {
	uintptr_t start, end;
};

/* Where pages lie, as the kernel's page table says. */
struct places {
	size_t system, hbm;	/* the others are empty, or the zero page */
};

int dev = -1;
struct devmodel_info info;

static const char *workload;
static struct range ranges[MAX_RANGES];
static size_t nranges;
static struct devmodel_stats before, after;
static struct places at_start, at_end;
static double begin, seconds;
static long spilled;
static unsigned long long hbm_in_use, checks, failures;

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

void check(bool good, const char *format, ...)
{
	va_list args;

	checks++;
	if (good)
		return;
	if (++failures > MOST_COMPLAINTS)
		return;
	fprintf(stderr, "%s: wrong: ", workload);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
}

void must_do(int result)
{
	if (result)
		errx(1, "%s", devmodel_error());
}

void *must(void *memory)
{
	if (!memory)
		err(1, "%s", workload);
	return memory;
}

void frame_name(const char *name)
{
	workload = name;
}

void frame_open(const char *name)
{
	frame_name(name);
	dev = devmodel_open(NULL);
	must_do(dev < 0);
	must_do(devmodel_info(dev, &info));
}

bool has_hbm(void)
{
	return info.hbm_bytes != 0;
}

void frame_watch(uintptr_t start, uintptr_t end)
{
	if (nranges == MAX_RANGES)
		errx(1, "%s: more than %d ranges", workload, MAX_RANGES);
	ranges[nranges++] = (struct range) { start, end };
}

void *frame_memory(size_t bytes)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *memory;

	bytes = (bytes + page - 1) & -page;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "%s: %zu MiB", workload, bytes >> 20);
	frame_watch((uintptr_t)memory, (uintptr_t)memory + bytes);
	return memory;
}

void frame_advise(enum devmodel_policy policy)
{
	size_t i;

	for (i = 0; has_hbm() && i < nranges; i++)
		must_do(devmodel_advise(dev, (void *)ranges[i].start,
					ranges[i].end - ranges[i].start, policy));
}

void frame_bring_back(void)
{
	size_t i;

	for (i = 0; has_hbm() && i < nranges; i++)
		must_do(devmodel_migrate(dev, (void *)ranges[i].start,
					 ranges[i].end - ranges[i].start, DEVMODEL_TARGET_SYSTEM,
					 NULL, NULL));
}

void look_at_hbm(void)
{
	struct devmodel_stats stats;

	must_do(devmodel_stats(dev, &stats));
	if (stats.hbm_bytes_in_use > hbm_in_use)
		hbm_in_use = stats.hbm_bytes_in_use;
}

static size_t watched(void)
{
	size_t i, pages = 0;

	for (i = 0; i < nranges; i++)
		pages += (ranges[i].end - ranges[i].start) / sysconf(_SC_PAGESIZE);
	return pages;
}

static struct places look(void)
{
	size_t i, page, pages, most = watched();
	uint32_t *cpu = must(malloc(most * sizeof(*cpu) + 1));
	uint32_t *device = must(malloc(most * sizeof(*device) + 1));
	struct places found = {};

	for (i = 0; i < nranges; i++) {
		size_t bytes = ranges[i].end - ranges[i].start;

		must_do(devmodel_snapshot(dev, (void *)ranges[i].start, bytes, cpu, device));
		pages = bytes / sysconf(_SC_PAGESIZE);
		for (page = 0; page < pages; page++) {
			found.system += devmodel_place(cpu[page]) == DEVMODEL_PLACE_SYSTEM;
			found.hbm += devmodel_place(cpu[page]) == DEVMODEL_PLACE_HBM;
		}
	}
	free(cpu);
	free(device);
	return found;
}

void frame_begin(void)
{
	if (dev >= 0) {
		at_start = look();
		must_do(devmodel_stats(dev, &before));
	}
	begin = now();
}

void frame_end(void)
{
	int node = nodes_device();

	seconds = now() - begin;
	if (dev < 0)
		return;
	must_do(devmodel_stats(dev, &after));
	look_at_hbm();
	at_end = look();
	if (node >= 0)
		spilled = node_pages_of_others(node);
}

static void number(const char *name, unsigned long long value)
{
	printf(", \"%s\": %llu", name, value);
}

void frame_print(void)
{
	int i;

	printf("{\"model\": \"%s\", \"workload\": \"%s\", \"checked\": %s",
	       dev >= 0 ? devmodel_model_name(info.model) : "none", workload,
	       failures || !checks ? "false" : "true");
	for (i = 0; i < DEVMODEL_STATS_RISING; i++)
		number(devmodel_stat[i].name,
		       devmodel_stat_value(&after, i) - devmodel_stat_value(&before, i));
	number("spilled_pages", spilled);
	printf(", \"wall_seconds\": %.3f", seconds);
	number("pages", watched());
	number("system_at_start", at_start.system);
	number("hbm_at_start", at_start.hbm);
	number("system_at_end", at_end.system);
	number("hbm_at_end", at_end.hbm);
	number("hbm_bytes_in_use", hbm_in_use);
	number("checks", checks);
	number("failed_checks", failures);
}

int frame_exit(void)
{
	return failures || !checks ? 1 : 0;
}
