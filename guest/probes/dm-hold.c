// SPDX-License-Identifier: MIT
/*
 * Holds pages on the device's NUMA node, and goes on to use it, while somebody
 * takes the node away; then tells what has become of them.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

#define PAGES		4096L
#define PINNED		8L
#define SEED		7

/* Another process takes memory, by preference the node's, and gives it back, all the time. */
static pid_t churn(void)
{
	pid_t child = fork();

	if (child)
		return child;
	policy_task(MPOL_PREFERRED, probe_node);
	for (;;) {
		char *address = probe_map(256);

		munmap(address, 256 * page_size());
	}
}

/* Pages in a pipe cannot move. Returns the end to read from. */
static int pin(char *address)
{
	struct iovec pages = { address, PINNED * page_size() };
	int ends[2];

	if (pipe(ends) || vmsplice(ends[1], &pages, 1, 0) != (ssize_t)pages.iov_len)
		err(1, "vmsplice");
	return ends[0];
}

static void hold(const char *go, const char *told, bool pinned, int ready)
{
	pid_t other = churn();
	char *address = probe_map_untouched(PAGES), *more = probe_map_untouched(PAGES);
	long on, wrong;
	FILE *out;

	policy_range(address, PAGES, MPOL_BIND, probe_node);
	policy_range(more, PAGES, MPOL_PREFERRED, probe_node);
	pattern_write(address, PAGES, SEED);
	on = probe_on(address, PAGES, probe_node);
	if (on != PAGES)
		errx(1, "%ld of %ld pages are on node %d", on, PAGES, probe_node);
	if (pinned)
		pin(address);
	if (write(ready, "", 1) != 1)
		err(1, "pipe");
	close(ready);
	/* A FIFO: opened when somebody else opens it. */
	close(open(go, O_RDONLY));
	kill(other, SIGKILL);
	wrong = pattern_wrong(address, PAGES, SEED);
	on = probe_on(address, PAGES, probe_node);
	probe_touch(more, PAGES);
	out = fopen(told, "w");
	if (!out)
		err(1, "%s", told);
	fprintf(out, "{\"pages\": %ld, \"on_node\": %ld, \"wrong\": %s, \"more_on_node\": %ld}\n",
		PAGES, on, wrong < 0 ? "false" : "true", probe_on(more, PAGES, probe_node));
	fclose(out);
}

int main(int argc, char **argv)
{
	bool pinned = argc == 4 && !strcmp(argv[3], "--pin");
	static struct probe_shared shared;
	int ready[2];
	char byte;
	bool cdm;

	if (argc < 3 || (argc == 4 && !pinned) || argc > 4) {
		printf("usage: dm-hold GO TOLD [--pin]\n"
		       "Puts %ld pages on the device's NUMA node (with --pin %ld of them so that they\n"
		       "cannot move), goes to the background, waits until the FIFO GO is opened, and\n"
		       "tells in TOLD where the pages are then, and whether their bytes are right.\n",
		       PAGES, PINNED);
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	probe_shared = &shared;
	if (!probe_find_node(&cdm))
		return 1;
	if (pipe(ready))
		err(1, "pipe");
	if (!fork()) {
		close(ready[0]);
		hold(argv[1], argv[2], pinned, ready[1]);
		return 0;
	}
	close(ready[1]);
	return read(ready[0], &byte, 1) != 1;
}
