// SPDX-License-Identifier: MIT
/*
 * A process that has nothing to do with the device and wants memory: takes it
 * until node 0 is at its limit, tells, and holds it until its input ends.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nodes.h"

/* The last stretch goes in small steps of small pages. */
#define LAST_STRETCH	(48UL << 20)
#define STEP		(256UL << 10)
/* Given back at the limit, so that the others can work. */
#define ROOM		(24UL << 20)
/* So much elsewhere shows it. */
#define ENOUGH		(16UL << 20)

static size_t page;

static char *take(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap of %zu MiB", bytes >> 20);
	return memory;
}

static void touch(char *memory, size_t bytes)
{
	size_t at;

	for (at = 0; at < bytes; at += page)
		memory[at] = 1;
}

static long elsewhere(void)
{
	int node = nodes_device();

	return node < 0 ? 0 : node_pages_of(getpid(), node);
}

/* Who is killed if there is too little for all. */
static void volunteer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1000", 4) != 4)
		warn("oom_score_adj");
	close(fd);
}

int main(int argc, char **argv)
{
	struct node_level level;
	size_t bulk = 0, taken = 0, room;
	char *memory, last;

	if (argc > 1) {
		printf("usage: dm-hog\n"
		       "Take memory until node 0 has less than its low watermark or others give some,\n"
		       "say so in one line, give %lu MiB of it back, and hold the rest until the end of\n"
		       "the input.\n", ROOM >> 20);
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	page = sysconf(_SC_PAGESIZE);
	volunteer();
	level = node_level(0);
	if (level.free * page > LAST_STRETCH)
		bulk = level.free * page - LAST_STRETCH;
	memory = take(bulk + 1);
	madvise(memory, bulk, MADV_HUGEPAGE);
	touch(memory, bulk);
	/* Twice the stretch, for what lands elsewhere; it is only addresses. */
	memory = take(2 * LAST_STRETCH);
	madvise(memory, 2 * LAST_STRETCH, MADV_NOHUGEPAGE);
	while (taken < 2 * LAST_STRETCH) {
		level = node_level(0);
		/* Half way below the mark: pages from there on are those of somebody in need. */
		if (level.free < (level.low + level.min) / 2 || elsewhere() * page >= ENOUGH)
			break;
		touch(memory + taken, STEP);
		taken += STEP;
	}
	printf("took %zu MiB; node 0 has %ld pages free, its marks are %ld and %ld; "
	       "%ld pages are elsewhere\n", (bulk + taken) >> 20, level.free, level.low, level.min,
	       elsewhere());
	fflush(stdout);
	room = taken < ROOM ? taken : ROOM;
	if (munmap(memory, room))
		err(1, "munmap");
	while (read(0, &last, 1) > 0)
		;
	return 0;
}
