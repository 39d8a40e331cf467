// SPDX-License-Identifier: MIT
/* Holds on to pages of coherent HBM by a pipe that they were spliced into. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ktap.h"

#define PAGES	4

int main(int argc, char **argv)
{
	struct iovec pages;
	int dev, ready, pipes[2];
	uint64_t *memory;

	if (argc != 2 || argv[1][0] == '-') {
		printf("usage: dm-splice READY\n"
		       "Creates the file READY once it holds on to pages in HBM, and waits to be killed.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	dev = devmodel_open(NULL);
	if (dev < 0)
		errx(1, "%s", devmodel_error());
	memory = map_anonymous(PAGES);
	pattern_write(memory, PAGES, 1);
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	pages = (struct iovec){ .iov_base = memory, .iov_len = PAGES * page_size() };
	if (pipe(pipes) || vmsplice(pipes[1], &pages, 1, 0) != (ssize_t)pages.iov_len)
		err(1, "vmsplice");
	ready = open(argv[1], O_CREAT | O_WRONLY, 0600);
	if (ready < 0)
		err(1, "%s", argv[1]);
	pause();
	return 0;
}
