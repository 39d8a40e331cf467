// SPDX-License-Identifier: MIT
/* See nodes.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nodes.h"

#define MAX_NODES	64

/* The nodes of a list like "0,2-3", as bits. 0 if there is no such file. */
static unsigned long long node_list(const char *name)
{
	char path[80], text[256] = "", *at = text;
	unsigned long long nodes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", name);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		*text = '\0';
	fclose(file);
	while (isdigit(*at)) {
		unsigned long first = strtoul(at, &at, 10), last = first;

		if (*at == '-')
			last = strtoul(at + 1, &at, 10);
		for (; first <= last && first < MAX_NODES; first++)
			nodes |= 1ULL << first;
		if (*at == ',')
			at++;
	}
	return nodes;
}

int nodes_device(void)
{
	unsigned long long nodes = node_list("has_memory") & ~node_list("has_cpu");

	return nodes ? __builtin_ctzll(nodes) : -1;
}

bool node_allowed(int node)
{
	unsigned long long nodes = 0;

	/* A kernel without NUMA has no other node either. */
	if (syscall(SYS_get_mempolicy, NULL, &nodes, MAX_NODES, NULL, MPOL_F_MEMS_ALLOWED))
		return false;
	return nodes >> node & 1;
}

/* Bring per-processor counts up to date, as far as one may. */
static void refresh(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) < 0)
		warn("stat_refresh");
	close(fd);
}

struct node_level node_level(int node)
{
	struct node_level level = {};
	long free = 0, min = 0, low = 0, managed = 0, value, reserve;
	int at = -1;
	char line[512], *rest;
	FILE *file;

	refresh();
	file = fopen("/proc/zoneinfo", "r");
	if (!file)
		err(1, "/proc/zoneinfo");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d, zone", &at) == 1 || at != node)
			continue;
		if (sscanf(line, " pages free %ld", &value) == 1) {
			free = value;
		} else if (sscanf(line, " min %ld", &value) == 1) {
			min = value;
		} else if (sscanf(line, " low %ld", &value) == 1) {
			low = value;
		} else if (sscanf(line, " managed %ld", &value) == 1) {
			managed = value;
		} else if ((rest = strstr(line, "protection: ("))) {
			/* The last of them is kept from those whose pages can go anywhere. */
			rest = strrchr(rest, ' ');
			reserve = rest ? strtol(rest + 1, NULL, 10) : 0;
			level.free += free;
			level.min += managed < min + reserve ? managed : min + reserve;
			level.low += managed < low + reserve ? managed : low + reserve;
		}
	}
	fclose(file);
	return level;
}

long node_pages_of(pid_t pid, int node)
{
	char path[40], mark[16], *word, *line = NULL;
	size_t room = 0;
	long pages = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
	snprintf(mark, sizeof(mark), "N%d=", node);
	file = fopen(path, "r");
	if (!file)
		return 0;
	while (getline(&line, &room, file) > 0)
		for (word = strtok(line, " "); word; word = strtok(NULL, " "))
			if (!strncmp(word, mark, strlen(mark)))
				pages += strtol(word + strlen(mark), NULL, 10);
	free(line);
	fclose(file);
	return pages;
}

long node_pages_of_others(int node)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	long pages = 0;

	if (!folder)
		err(1, "/proc");
	while ((entry = readdir(folder))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid())
			pages += node_pages_of(pid, node);
	}
	closedir(folder);
	return pages;
}
