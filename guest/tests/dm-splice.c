// SPDX-License-Identifier: MIT
/* Holds on to pages of coherent HBM by a pipe that they were spliced into. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ktap.h"

#define PAGES	4

static int make(const char *path, const char *text)
{
	int file = open(path, O_CREAT | O_WRONLY, 0600);

	if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "%s", path);
	return close(file);
}

int main(int argc, char **argv)
{
	static uint64_t bytes[65536 / 8];
	struct iovec pages;
	int dev, pipes[2], number;
	uint64_t *memory;
	sigset_t told;

	if (argc != 3) {
		printf("usage: dm-splice HELD LETGO\n"
		       "Creates the file HELD once it holds on to pages in HBM. At SIGUSR1 it lets go, but\n"
		       "still maps them, and writes into LETGO if the bytes it held were right.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	sigemptyset(&told);
	sigaddset(&told, SIGUSR1);
	sigprocmask(SIG_BLOCK, &told, NULL);
	dev = devmodel_open(NULL);
	if (dev < 0)
		errx(1, "%s", devmodel_error());
	memory = map_anonymous(PAGES);
	pattern_write(memory, PAGES, 1);
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	pages = (struct iovec){ .iov_base = memory, .iov_len = PAGES * page_size() };
	if (pipe(pipes) || vmsplice(pipes[1], &pages, 1, 0) != (ssize_t)pages.iov_len)
		err(1, "vmsplice");
	devmodel_close(dev);
	make(argv[1], "");
	sigwait(&told, &number);
	if (read(pipes[0], bytes, pages.iov_len) != (ssize_t)pages.iov_len)
		err(1, "read");
	make(argv[2], pattern_wrong(bytes, PAGES, 1) < 0 ? "right\n" : "wrong\n");
	pause();
	return 0;
}
