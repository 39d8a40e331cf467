// SPDX-License-Identifier: MIT
/*
 * Reads pages of coherent HBM again and again, until all of them are lost. What
 * it finds has to be what was there, up to the SIGBUS.
 */
#include <err.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ktap.h"

#define PAGES	64

static sigjmp_buf after_sigbus;

static void on_sigbus(int number)
{
	(void)number;
	siglongjmp(after_sigbus, 1);
}

/* How many of the pages are lost? */
static size_t look(const volatile uint64_t *memory)
{
	volatile size_t page, lost = 0;

	for (page = 0; page < PAGES; page++) {
		uint64_t word;

		if (sigsetjmp(after_sigbus, 1)) {
			lost++;
			continue;
		}
		word = memory[page * page_size() / sizeof(*memory)];
		if (word != page + 1)
			errx(1, "page %zu holds %#llx", page, (unsigned long long)word);
	}
	return lost;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	int dev, ready;
	uint64_t *memory;
	size_t page;

	if (argc != 2 || argv[1][0] == '-') {
		printf("usage: dm-watch READY\n"
		       "Creates the file READY once its pages are in HBM; ends once they are lost.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	dev = devmodel_open(NULL);
	if (dev < 0)
		errx(1, "%s", devmodel_error());
	memory = map_anonymous(PAGES);
	for (page = 0; page < PAGES; page++)
		memory[page * page_size() / sizeof(*memory)] = page + 1;
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	sigaction(SIGBUS, &action, NULL);
	ready = open(argv[1], O_CREAT | O_WRONLY, 0600);
	if (ready < 0)
		err(1, "%s", argv[1]);
	close(ready);
	while (look(memory) < PAGES)
		continue;
	return 0;
}
