// SPDX-License-Identifier: MIT
/* Memory that is not of who named the node, but comes to be by way of who did. */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

/* This process's memory, private and shared, written to by a child that is bound to the node. */
static struct probe_count remote_write(void)
{
	const size_t size = PROBE_SOME * page_size();
	char *address = probe_map_untouched(2 * PROBE_SOME), *bytes;
	struct iovec local, remote = { address, 2 * size };
	pid_t child;
	int status;

	PROBE_MUST(mmap(address + size, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == address + size);
	child = fork();
	if (!child) {
		policy_task(MPOL_BIND, probe_node);
		bytes = probe_map(2 * PROBE_SOME);
		local = (struct iovec) { bytes, 2 * size };
		PROBE_MUST(process_vm_writev(getppid(), &local, 1, &remote, 1, 0) ==
			   (ssize_t)(2 * size));
		_exit(EXIT_SUCCESS);
	}
	PROBE_MUST(child > 0 && waitpid(child, &status, 0) == child);
	if (status)
		_exit(EXIT_FAILURE);
	return probe_arrived(address, 2 * PROBE_SOME);
}

/* So many pages may stay in memory although they are in the swap; the counts are no finer. */
#define CACHED		64

static void forget_swapped(void)
{
	const long enough = CACHED * page_size() / 1024;
	int left;

	for (left = 100; field_in("/proc/meminfo", "SwapCached:") > enough; left--) {
		if (!left)
			probe_fail("pages that were swapped out stay in memory");
		write_text(PROBE_CGROUPS "/probe/memory.reclaim", "16M");
		sleep_ms(10);
	}
}

/* Pages of one range in a row; the kernel reads ahead for who asks for what lies side by side. */
#define RUN		4

static void page_out(char *address, long pages)
{
	long i;

	for (i = 0; i < pages; i++)
		PROBE_MUST(!madvise(address + i * page_size(), page_size(), MADV_PAGEOUT));
}

/*
 * Two ranges that lie in the swap in turns. One of them is bound to the node, and is read back;
 * the kernel reads what lies beside it as well.
 */
static struct probe_count readahead(void)
{
	const long pages = 2 * PROBE_SOME;
	char *bound = probe_map_untouched(pages), *other = probe_map_untouched(pages);
	long i;

	setting("/sys/kernel/mm/swap/vma_ra_enabled", "false");
	setting("/proc/sys/vm/page-cluster", "3");
	swap_on_disk();
	group_enter("memory");
	probe_touch(bound, pages);
	probe_touch(other, pages);
	for (i = 0; i < pages; i += RUN) {
		page_out(bound + i * page_size(), RUN);
		page_out(other + i * page_size(), RUN);
	}
	forget_swapped();
	policy_range(bound, pages, MPOL_BIND, probe_node);
	probe_touch(bound, pages);
	if (probe_on(bound, pages, SYSTEM_NODE) > CACHED)
		probe_fail("%ld of %ld bound pages came back to node %d",
			   probe_on(bound, pages, SYSTEM_NODE), pages, SYSTEM_NODE);
	probe_touch(other, pages);
	return probe_arrived(other, pages);
}

const struct probe probes_others[] = {
	{ "remote-write", PROBE_SPILLS, remote_write,
	  "process_vm_writev by a task that is bound to the node" },
	{ "swap-readahead", PROBE_SPILLS, readahead,
	  "pages beside those in the swap that are bound to the node" },
	{}
};
