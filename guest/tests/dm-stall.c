// SPDX-License-Identifier: MIT
/*
 * A process whose device program waits for memory that does not come, until
 * somebody kills the file system's server. Stays in the background meanwhile.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"
#include "stall.h"

#define FOR_EVER_MS	3600000

/* The one that is stuck: tells how its wait ended. */
static void __attribute__((noreturn)) wait_for_ever(const struct stall *stall, int dev,
						    const char *told)
{
	struct devmodel_wait end = {};
	uint64_t *memory = stall_map(stall_open(stall));
	int64_t handle = devmodel_launch(dev, "sum", memory, words(STALL_PAGES));
	int error;
	FILE *out;

	if (handle < 0)
		errx(1, "%s", devmodel_error());
	error = devmodel_wait(dev, handle, FOR_EVER_MS, &end) ? errno : 0;
	out = fopen(told, "w");
	if (!out)
		err(1, "%s", told);
	fprintf(out, "{\"errno\": %d, \"status\": %u}\n", error, end.status);
	fclose(out);
	_exit(0);
}

static void hold(const char *told, int ready)
{
	int dev = devmodel_open(NULL);
	struct stall stall;
	pid_t stuck;

	if (dev < 0)
		errx(1, "%s", devmodel_error());
	devmodel_close(dev);
	stall = stall_begin();
	stuck = fork();
	if (!stuck) {
		dev = devmodel_open(NULL);
		if (dev < 0)
			errx(1, "%s", devmodel_error());
		wait_for_ever(&stall, dev, told);
	}
	stall_wait(&stall, 1);
	dprintf(ready, "{\"server\": %d, \"stuck\": %d}\n", stall.server, stuck);
	close(ready);
	wait_child(stuck);
	wait_child(stall.server);
	stall_end(&stall);
}

int main(int argc, char **argv)
{
	char line[80];
	ssize_t size;
	int ready[2];

	if (argc != 2 || argv[1][0] == '-') {
		printf("usage: dm-stall TOLD\n"
		       "Has a device program wait for memory of a file system that does not answer,\n"
		       "prints the processes of its server and of the program, and goes to the\n"
		       "background. TOLD is written when the program has ended: kill the server.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	if (pipe(ready))
		err(1, "pipe");
	if (!fork()) {
		close(ready[0]);
		hold(argv[1], ready[1]);
		return 0;
	}
	close(ready[1]);
	size = read(ready[0], line, sizeof(line));
	return size <= 0 || write(STDOUT_FILENO, line, size) != size;
}
