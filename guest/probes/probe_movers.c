// SPDX-License-Identifier: MIT
/* What moves pages that are there already: reclaim, merging, balancing, collapse, offlining. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25	/* since 6.1 */
#endif

#define NUMA	"/sys/kernel/mm/numa/"
#define KSM	"/sys/kernel/mm/ksm/"
#define MEMORY	"/sys/devices/system/memory/"

/* So many pages of ours make a block of memory worth taking offline; 32 MiB. */
#define BLOCK_PAGES	8192

#define PAGEMAP_PRESENT	(1ULL << 63)
#define PAGEMAP_FRAME	((1ULL << 55) - 1)

/* Reclaim demotes to a slower node where it may. Swap is on, so that it has something to do. */
static struct probe_count demotion(void)
{
	char *address;

	setting(NUMA "demotion_enabled", "1");
	swap_on();
	group_enter("memory");
	address = probe_map(PROBE_SOME * 4);
	/* It tries hard, and tells when it did not get all of it. */
	write_text(PROBE_CGROUPS "/probe/memory.reclaim", "8M");
	if (probe_on(address, PROBE_SOME * 4, SYSTEM_NODE) == PROBE_SOME * 4)
		probe_fail("nothing was reclaimed");
	return probe_arrived(address, PROBE_SOME * 4);
}

/*
 * Two ranges with the same bytes, the first on node 0, the second on the node.
 * The kernel finds the second to be like the first and keeps the second.
 */
static struct probe_count ksm(void)
{
	const long pages = 256;
	char *address = probe_map(4 * pages);
	char *first = address, *second = address + pages * page_size();
	char *control = second + pages * page_size();
	long i;

	for (i = 0; i < pages; i++) {
		*(long *)(second + i * page_size()) = i + 1;
		*(long *)(control + i * page_size()) = -i - 1;
		*(long *)(control + (pages + i) * page_size()) = -i - 1;
	}
	move_to(second, pages, probe_node);
	PROBE_MUST(!madvise(address, 4 * pages * page_size(), MADV_MERGEABLE));
	setting(KSM "pages_to_scan", "100000");
	setting(KSM "sleep_millisecs", "1");
	setting(KSM "run", "1");
	/* The two ranges behind have nothing to do with the node, and are merged at any rate. */
	if (!wait_growth(KSM "pages_sharing", NULL, 0, pages, 10))
		probe_fail("nothing was merged");
	PROBE_MUST(wait_growth(KSM "full_scans", NULL, number_in(KSM "full_scans"), 3, 10));
	return probe_arrived(first, pages);
}

static void *sleeper(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

/* Balancing brings pages to the processors that use them. The node has none. */
static struct probe_count balancing(void)
{
	const int seconds = 25;
	char *address = probe_map(2 * PROBE_SOME), *home = address + PROBE_SOME * page_size();
	long hints = field_in("/proc/vmstat", "numa_hint_faults_local ");
	time_t end = time(NULL) + seconds;
	pthread_t thread;

	/* Of a process with a single thread, balancing passes over what is local to it. */
	PROBE_MUST(!pthread_create(&thread, NULL, sleeper, NULL));
	move_to(address, PROBE_SOME, probe_node);
	setting("/proc/sys/kernel/numa_balancing", "1");
	/* It takes note of processor time; pages of slow memory move when it sees them twice. */
	while (field_in("/proc/vmstat", "numa_hint_faults_local ") - hints < 2 * PROBE_SOME) {
		if (time(NULL) > end)
			probe_fail("balancing did not look at the pages twice in %d s", seconds);
		probe_touch(address, 2 * PROBE_SOME);
	}
	if (probe_on(home, PROBE_SOME, probe_node))
		probe_fail("balancing moved pages of node %d to the node", SYSTEM_NODE);
	return probe_arrived(address, PROBE_SOME);
}

#define COLLAPSE_RANGES	4

/* Most small pages of each range are put on the node; the others would go with them. */
static struct probe_count collapse(char *address)
{
	const long there = HUGE_PAGES * 3 / 4, rest = HUGE_PAGES - there;
	size_t huge = HUGE_PAGES * page_size();
	struct probe_count count = {};
	long i;

	for (i = 0; i < COLLAPSE_RANGES; i++) {
		char *range = address + i * huge;

		probe_touch(range, HUGE_PAGES);
		move_to(range, there, probe_node);
		/* Where it will not, it will not. */
		madvise(range, huge, MADV_COLLAPSE);
		probe_touch(range, HUGE_PAGES);
		count.arrived += probe_on(range + there * page_size(), rest, probe_node);
		count.of += rest;
	}
	return count;
}

static struct probe_count collapse_mixed(void)
{
	return collapse(probe_map_huge(COLLAPSE_RANGES));
}

static struct probe_count collapse_shared(void)
{
	char *address = probe_map_huge(COLLAPSE_RANGES);

	PROBE_MUST(mmap(address, COLLAPSE_RANGES * HUGE_PAGES * page_size(), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == address);
	return collapse(address);
}

/* Ends what would go on for ever. */
static void ring(int number)
{
	(void)number;
}

/* How many of these huge pages lie in a block of memory that can be taken offline. */
static long in_block(const char *address, long huge_pages, long block)
{
	long i, count = 0, size = strtol(text_in(MEMORY "block_size_bytes"), NULL, 16);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	PROBE_MUST(fd >= 0);
	for (i = 0; i < huge_pages; i++) {
		off_t page = (long)address / page_size() + i * HUGE_PAGES;
		uint64_t entry;

		PROBE_MUST(pread(fd, &entry, sizeof(entry), page * sizeof(entry)) == sizeof(entry));
		if (entry & PAGEMAP_PRESENT)
			count += (long)((entry & PAGEMAP_FRAME) * page_size()) / size == block;
	}
	close(fd);
	return count;
}

/* Memory of node 0 is taken offline, as of a machine that is to lose a part. */
static struct probe_count offline(void)
{
	struct sigaction action = { .sa_handler = ring };
	struct probe_count count = {};
	char *address, path[100];
	bool done = false;
	long block, huge;

	/* Half of the node is this probe's, in huge pages: wherever there can be any. */
	ballast_drop();
	PROBE_MUST(write_text("/proc/sys/vm/drop_caches", "3"));
	huge = node_pages(SYSTEM_NODE, "MemTotal") / 2 / HUGE_PAGES;
	address = probe_map_huge(huge);
	PROBE_MUST(!madvise(address, huge * HUGE_PAGES * page_size(), MADV_HUGEPAGE));
	policy_task(MPOL_BIND, SYSTEM_NODE);
	probe_touch(address, huge * HUGE_PAGES);
	policy_task(MPOL_DEFAULT, -1);
	PROBE_MUST(!sigaction(SIGALRM, &action, NULL));
	for (block = 0; block < 64 && !done; block++) {
		long ours;

		snprintf(path, sizeof(path), MEMORY "memory%ld/state", block);
		ours = access(path, F_OK) ? 0 : in_block(address, huge, block) * HUGE_PAGES;
		if (ours < BLOCK_PAGES)
			continue;
		/*
		 * Many a block holds something that cannot move; then it is another one's turn.
		 * A kernel that has another node moves all pages there and nowhere else. For small
		 * ones it asks for no movable zone, and so goes on until the alarm.
		 */
		alarm(2);
		done = write_text(path, "offline");
		if (!done && errno != EINTR)
			continue;
		count.of = ours;
		count.arrived = probe_on(address, huge * HUGE_PAGES, probe_node);
		PROBE_MUST(!done || write_text(path, "online_kernel"));
		done |= count.arrived > 0;
	}
	if (!count.of)
		probe_fail("no memory of node %d can be taken offline", SYSTEM_NODE);
	return count;
}

const struct probe probes_movers[] = {
	{ "demotion", PROBE_SPILLS, demotion, "reclaim with demotion enabled" },
	{ "ksm", PROBE_SPILLS, ksm, "merging with pages on the node" },
	{ "collapse-mixed", PROBE_SPILLS, collapse_mixed,
	  "a huge page made of small ones, most of them on the node" },
	{ "collapse-shared", PROBE_SPILLS, collapse_shared,
	  "the same of shared memory" },
	{ "offline", PROBE_SPILLS, offline, "memory of node 0 is taken offline" },
	{ "numa-balancing", PROBE_STAYS, balancing, "pages on the node, NUMA balancing" },
	{}
};
