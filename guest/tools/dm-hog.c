// SPDX-License-Identifier: MIT
/*
 * A process that has nothing to do with the device and wants memory: takes it
 * until node 0 is at its limit, tells, and holds it until its input ends.
 *
 * Where that is depends on the kernel: for the sake of huge pages it keeps ten
 * times as much free as without. So all is measured from its low watermark.
 */
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/nodes.h"

/* The last stretch above the mark goes in small steps of small pages. */
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

static bool below(struct node_level level)
{
	return level.free < level.low;
}

/* No node that is there for this process has anything left above its mark; node 0 is at @level. */
static bool at_limit(struct node_level level)
{
	int node = nodes_device();

	return below(level) && (node < 0 || !node_allowed(node) || below(node_level(node)));
}

static void setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		warn("%s", path);
	close(fd);
}

/*
 * How far the marks are from each other, in parts of 10,000 of the memory; the
 * second is the kernel's own choice. Processors keep some MiB of pages in lists
 * of their own (much more since 6.7), which they fill by one look at the low
 * mark. If that takes all there is between the marks, whoever needs a page of
 * the kernel's next has the hog killed.
 */
#define DISTANCE	"/proc/sys/vm/watermark_scale_factor"
#define WHILE_TAKING	"200"
#define AFTERWARDS	"10"

int main(int argc, char **argv)
{
	struct node_level level;
	size_t bulk = 0, taken = 0, most, room;
	char *memory, last;
	long before;

	if (argc > 1) {
		printf("usage: dm-hog\n"
		       "Take memory until node 0 has less than its low watermark or others give some,\n"
		       "say so in one line, give %lu MiB of it back, and hold the rest until the end of\n"
		       "the input.\n", ROOM >> 20);
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	page = sysconf(_SC_PAGESIZE);
	/* Who is killed if there is too little for all. */
	setting("/proc/self/oom_score_adj", "1000");
	setting(DISTANCE, WHILE_TAKING);
	level = node_level(0);
	if (level.free * page > level.low * page + LAST_STRETCH)
		bulk = (level.free - level.low) * page - LAST_STRETCH;
	memory = take(bulk + 1);
	madvise(memory, bulk, MADV_HUGEPAGE);
	touch(memory, bulk);
	/* Only addresses: what processors keep in lists of their own comes too, and is not free. */
	most = sysconf(_SC_PHYS_PAGES) * page & -STEP;
	memory = take(most);
	madvise(memory, most, MADV_NOHUGEPAGE);
	before = elsewhere();
	for (; taken < most; taken += STEP) {
		level = node_level(0);
		if (at_limit(level) || (elsewhere() - before) * page >= ENOUGH)
			break;
		touch(memory + taken, STEP);
	}
	setting(DISTANCE, AFTERWARDS);
	printf("took %zu MiB; node 0 has %ld pages free, its marks are %ld and %ld; "
	       "%ld pages are elsewhere\n", (bulk + taken) >> 20, level.free, level.low, level.min,
	       elsewhere());
	fflush(stdout);
	/* What came first came from node 0. */
	room = taken < ROOM ? taken : ROOM;
	if (room && munmap(memory, room))
		err(1, "munmap");
	while (read(0, &last, 1) > 0)
		;
	return 0;
}
