// SPDX-License-Identifier: MIT
/*
 * What becomes of memory in HBM when the device is lost: pages are placed
 * there, the device is waited for to go (somebody has to kill its agent), and
 * then each page is touched.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"

#define PAGES		64
/* For the device to be lost, and then for the touches. */
#define WAIT_MS		30000
#define TOUCH_SECONDS	20
#define VALUE(page)	(0x5eed000000000000ULL + (page))

static sigjmp_buf touched;
static size_t in_hbm;

static void give_up(const char *outcome)
{
	printf("{\"outcome\": \"%s\", \"hbm_pages\": %zu}\n", outcome, in_hbm);
	fflush(stdout);
	_exit(0);
}

static void on_bus_error(int number)
{
	(void)number;
	siglongjmp(touched, 1);
}

static void on_alarm(int number)
{
	(void)number;
	give_up("hang");
}

/* Whether there was something to load. */
static bool load(const volatile uint64_t *word, uint64_t *value)
{
	if (sigsetjmp(touched, 1))
		return false;
	*value = *word;
	return true;
}

static void fail(const char *what)
{
	fprintf(stderr, "dm-device-lost: %s\n", what);
	exit(1);
}

static void place(int dev, void *memory, size_t bytes)
{
	uint32_t cpu[PAGES], device[PAGES];
	struct devmodel_info info;
	size_t i;

	if (devmodel_info(dev, &info))
		fail(devmodel_error());
	if (info.hbm_bytes &&
	    devmodel_migrate(dev, memory, bytes, DEVMODEL_TARGET_DEVICE, NULL, NULL))
		fail(devmodel_error());
	if (devmodel_snapshot(dev, memory, bytes, cpu, device))
		fail(devmodel_error());
	for (i = 0; i < PAGES; i++)
		in_hbm += devmodel_place(cpu[i]) == DEVMODEL_PLACE_HBM;
	if (info.hbm_bytes && in_hbm != PAGES)
		fail("not all pages went to HBM");
}

int main(int argc, char **argv)
{
	size_t i, page = sysconf(_SC_PAGESIZE), kept = 0, wrong = 0;
	struct devmodel_wait end;
	volatile uint64_t *memory;
	uint64_t *busy;
	int64_t handle;
	int dev;

	if (argc > 1) {
		printf("usage: dm-device-lost\n"
		       "Place pages in HBM, say `placed', wait until the device is lost, touch them all,\n"
		       "and print what became of them: kept, SIGBUS, wrong data, hang.\n");
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	dev = devmodel_open(NULL);
	if (dev < 0)
		fail(devmodel_error());
	memory = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail(strerror(errno));
	for (i = 0; i < PAGES; i++)
		memory[i * page / sizeof(*memory)] = VALUE(i);
	/* A program that runs until the device is no more. */
	busy = (uint64_t *)memory + PAGES * page / sizeof(*memory);
	place(dev, (void *)memory, PAGES * page);
	handle = devmodel_launch(dev, "atomic_add", busy, UINT64_MAX, 1);
	if (handle < 0)
		fail(devmodel_error());
	fprintf(stderr, "placed\n");
	if (!devmodel_wait(dev, handle, WAIT_MS, &end) || errno != EIO)
		fail("the device was not lost");

	signal(SIGBUS, on_bus_error);
	signal(SIGALRM, on_alarm);
	alarm(TOUCH_SECONDS);
	for (i = 0; i < PAGES; i++) {
		uint64_t value;

		if (!load(&memory[i * page / sizeof(*memory)], &value))
			continue;
		kept += value == VALUE(i);
		wrong += value != VALUE(i);
	}
	give_up(wrong ? "wrong data" : kept == PAGES ? "kept" : "SIGBUS");
}
