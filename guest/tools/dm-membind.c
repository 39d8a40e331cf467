// SPDX-License-Identifier: MIT
/* Run a command whose memory comes from the device's NUMA node: numactl --membind for HBM. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/nodes.h"

/* As of env and nice: no fault of the command's. */
#define NOT_FOUND	127
#define NOT_RUN		126
#define OWN_FAULT	125

int main(int argc, char **argv)
{
	int first = argc > 1 && !strcmp(argv[1], "--") ? 2 : 1, node;
	unsigned long long nodes;

	if (argc <= first || argv[first][0] == '-') {
		printf("usage: dm-membind [--] COMMAND [ARGUMENT...]\n"
		       "Run a command that gets all its memory from the device's NUMA node (models numa\n"
		       "and cdm), whatever it knows of that. Example:\n"
		       "  dm-membind sh -c 'grep heap /proc/self/numa_maps'\n"
		       "The exit code is the command's; 127 or 126 if it cannot be run, 125 if there is\n"
		       "no such node.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	node = nodes_device();
	if (node < 0) {
		fprintf(stderr, "dm-membind: the device's memory is no NUMA node here (see dm-info)\n");
		return OWN_FAULT;
	}
	nodes = 1ULL << node;
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes) + 1)) {
		fprintf(stderr, "dm-membind: node %d: %s\n", node, strerror(errno));
		return OWN_FAULT;
	}
	execvp(argv[first], argv + first);
	fprintf(stderr, "dm-membind: %s: %s\n", argv[first], strerror(errno));
	return errno == ENOENT ? NOT_FOUND : NOT_RUN;
}
