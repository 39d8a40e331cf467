// SPDX-License-Identifier: MIT
/* What a process sees of HBM that fails while it uses it: one line of JSON. */
#include <err.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <stdlib.h>

#include "ktap.h"

#define HUGE	((size_t)512)

static sigjmp_buf after_sigbus;

static void on_sigbus(int number)
{
	(void)number;
	siglongjmp(after_sigbus, 1);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	struct devmodel_migrate moved = {};
	volatile size_t page, lost = 0, right = 0;
	struct devmodel_wait end = {};
	uint64_t *memory;
	size_t pages;
	int dev;

	bool huge = argc == 3 && !strcmp(argv[2], "--huge");

	if (argc < 2 || argc > 3 || (argc == 3 && !huge) || !(pages = strtoul(argv[1], NULL, 0))) {
		printf("usage: dm-failing PAGES [--huge]\n"
		       "Puts PAGES pages into HBM, has the device read them all, and tells what the device\n"
		       "and then the CPU found. With --huge they are huge pages, and the CPU looks first.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	dev = devmodel_open(NULL);
	if (dev < 0)
		errx(1, "%s", devmodel_error());
	memory = map_anonymous(pages + HUGE);
	if (huge) {
		uintptr_t size = HUGE * page_size();

		memory = (void *)(((uintptr_t)memory + size - 1) & ~(size - 1));
		if (madvise(memory, pages * page_size(), MADV_HUGEPAGE))
			err(1, "madvise");
	}
	for (page = 0; page < pages; page++)
		memory[page * page_size() / sizeof(*memory)] = page + 1;
	if (devmodel_migrate(dev, memory, pages * page_size(), DEVMODEL_TARGET_DEVICE, &moved, NULL))
		errx(1, "%s", devmodel_error());
	/* An error is what it is to end with; the status tells. */
	if (!huge)
		devmodel_run(dev, &end, "sum", memory, pages * page_size() / sizeof(*memory));
	sigaction(SIGBUS, &action, NULL);
	for (page = 0; page < pages; page++) {
		if (sigsetjmp(after_sigbus, 1))
			lost++;
		else
			right += *(volatile uint64_t *)&memory[page * page_size() / 8] == page + 1;
	}
	printf("{\"moved\": %llu, \"status\": %u, \"access\": %u, \"fault_page\": %lld, "
	       "\"lost\": %zu, \"right\": %zu, \"pages_lost\": %llu, \"hbm_bytes_failed\": %llu}\n",
	       (unsigned long long)moved.moved, end.status, end.fault_access,
	       ((long long)end.fault_address - (long long)(uintptr_t)memory) / (long long)page_size(),
	       lost, right, (unsigned long long)stats_now(dev).pages_lost,
	       (unsigned long long)stats_now(dev).hbm_bytes_failed);
	return 0;
}
