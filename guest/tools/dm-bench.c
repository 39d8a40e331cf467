// SPDX-License-Identifier: MIT
/* How long the elementary things take: round trips, faults, migrations. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"

#define ROUNDS	500
#define FAULTS	1000
#define PAGES	2048

static int dev;
static size_t page;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void must(int result)
{
	if (result)
		errx(1, "%s", devmodel_error());
}

static uint8_t *fresh(void)
{
	uint8_t *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	memset(memory, 1, PAGES * page);
	return memory;
}

static void tell(const char *what, double seconds, unsigned int count)
{
	printf("%-44s %9.1f us\n", what, seconds / count * 1e6);
	fflush(stdout);
}

static void round_trips(void)
{
	uint64_t *memory = (uint64_t *)fresh();
	struct devmodel_wait end;
	double begin;
	int i;

	must(devmodel_run(dev, &end, "fill", memory, 1, 1));
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		must(devmodel_run(dev, &end, "fill", memory, 1, i));
	tell("launch and wait", now() - begin, ROUNDS);
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		must(devmodel_run(dev, &end, "fill", memory + (i + 1) * page / 8, 1, i));
	tell("the same with a fault", now() - begin, ROUNDS);
	begin = now();
	must(devmodel_run(dev, &end, "sum", memory + ROUNDS * page / 8, (PAGES - ROUNDS) * page / 8));
	tell("a page of a long access, faults included", now() - begin, PAGES - ROUNDS);
	begin = now();
	must(devmodel_run(dev, &end, "sum", memory + ROUNDS * page / 8, (PAGES - ROUNDS) * page / 8));
	tell("a page of a long access, no faults", now() - begin, PAGES - ROUNDS);
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		if (madvise(memory + i * page / 8, page, MADV_DONTNEED))
			err(1, "madvise");
	tell("discard a page that the device maps", now() - begin, ROUNDS);
	munmap(memory, PAGES * page);
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* What most get and what the unlucky get, of programs that fault once each. */
static void faults(void)
{
	static double took[FAULTS];
	uint64_t *memory = (uint64_t *)fresh();
	struct devmodel_wait end;
	double begin;
	int i;

	for (i = 0; i < FAULTS; i++) {
		begin = now();
		must(devmodel_run(dev, &end, "fill", memory + i * page / 8, 1, i));
		took[i] = now() - begin;
	}
	qsort(took, FAULTS, sizeof(took[0]), by_size);
	tell("launch and wait with a fault, median", took[FAULTS / 2], 1);
	tell("launch and wait with a fault, 99 of 100", took[FAULTS * 99 / 100], 1);
	munmap(memory, PAGES * page);
}

static void touch(volatile uint8_t *byte)
{
	++*byte;
}

static void migrations(void)
{
	uint8_t *memory = fresh();
	struct devmodel_wait end;
	double begin;
	int i;

	begin = now();
	must(devmodel_migrate(dev, memory, PAGES * page, DEVMODEL_TARGET_DEVICE, NULL, NULL));
	tell("a page to the device, many at once", now() - begin, PAGES);
	begin = now();
	must(devmodel_migrate(dev, memory, PAGES * page, DEVMODEL_TARGET_SYSTEM, NULL, NULL));
	tell("a page to the system, many at once", now() - begin, PAGES);
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		must(devmodel_migrate(dev, memory + i * page, page, DEVMODEL_TARGET_DEVICE, NULL, NULL));
	tell("a page to the device, one at a time", now() - begin, ROUNDS);
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		touch(memory + (ROUNDS - 1 - i) * page);
	tell("the CPU touches pages in HBM, anywhere", now() - begin, ROUNDS);
	must(devmodel_migrate(dev, memory, ROUNDS * page, DEVMODEL_TARGET_DEVICE, NULL, NULL));
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		touch(memory + i * page);
	tell("the CPU touches pages in HBM, in order", now() - begin, ROUNDS);
	must(devmodel_advise(dev, memory, PAGES * page, DEVMODEL_POLICY_ON_TOUCH));
	begin = now();
	for (i = 0; i < ROUNDS; i++)
		must(devmodel_run(dev, &end, "fill", memory + i * page, 1, i));
	tell("launch and wait with a fault that migrates", now() - begin, ROUNDS);
	munmap(memory, PAGES * page);
}

int main(int argc, char **argv)
{
	struct devmodel_info info;

	if (argc > 1) {
		printf("usage: dm-bench\nHow long the elementary things take, mean of %d or more if not said.\n",
		       ROUNDS);
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	page = sysconf(_SC_PAGESIZE);
	dev = devmodel_open(NULL);
	if (dev < 0)
		errx(1, "%s", devmodel_error());
	must(devmodel_info(dev, &info));
	printf("model %s\n", devmodel_model_name(info.model));
	round_trips();
	faults();
	if (info.hbm_bytes)
		migrations();
	return 0;
}
