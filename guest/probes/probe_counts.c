// SPDX-License-Identifier: MIT
/* What the kernel says that anybody may have: does it count the node's memory? In pages of it. */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

static long in_pages(long kib)
{
	return kib * 1024 / (long)page_size();
}

static struct probe_count beyond(long promised, long there)
{
	return (struct probe_count) {
		promised > there ? promised - there : 0, node_pages(probe_node, "MemTotal")
	};
}

/* A program believes MemAvailable, and takes it all but for a margin. It must not be killed. */
static struct probe_count available(void)
{
	const long margin = in_pages(64 << 10);
	long pages;

	/*
	 * Processors keep free pages to themselves, tens of megabytes of them by now, and where
	 * node 0 has none left for a page table the kernel kills before it collects those.
	 */
	setting("/proc/sys/vm/percpu_pagelist_high_fraction", "1000");
	pages = in_pages(field_in("/proc/meminfo", "MemAvailable:")) - margin;
	PROBE_MUST(pages > PROBE_SOME);
	PROBE_MUST(write_text("/proc/self/oom_score_adj", "1000"));
	return probe_arrived(probe_map(pages), pages);
}

/* With all of memory to be promised, and none of the swap. */
static struct probe_count commit_limit(void)
{
	setting("/proc/sys/vm/overcommit_ratio", "100");
	return beyond(in_pages(field_in("/proc/meminfo", "CommitLimit:")),
		      node_pages(SYSTEM_NODE, "MemTotal"));
}

/* The same with huge pages set aside on the node: they come off nobody else's share. */
static struct probe_count commit_limit_huge(void)
{
	const long huge = 8;
	long before;

	setting("/proc/sys/vm/overcommit_ratio", "100");
	before = in_pages(field_in("/proc/meminfo", "CommitLimit:"));
	probe_pool(huge);
	return (struct probe_count) {
		before - in_pages(field_in("/proc/meminfo", "CommitLimit:")), huge * HUGE_PAGES
	};
}

/* How much of the page cache may be dirty, if all of it may. */
static struct probe_count dirty_limit(void)
{
	setting("/proc/sys/vm/dirty_ratio", "100");
	return beyond(field_in("/proc/vmstat", "nr_dirty_threshold "),
		      node_pages(SYSTEM_NODE, "MemFree") + node_pages(SYSTEM_NODE, "Active(file)") +
		      node_pages(SYSTEM_NODE, "Inactive(file)"));
}

const struct probe probes_counts[] = {
	{ "available", PROBE_SPILLS, available, "MemAvailable, all of it but 64 MiB" },
	{ "commit-limit", PROBE_SPILLS, commit_limit, "CommitLimit beyond what node 0 has" },
	{ "commit-limit-huge", PROBE_SPILLS, commit_limit_huge,
	  "what huge pages on the node take off CommitLimit" },
	{ "dirty-limit", PROBE_SPILLS, dirty_limit, "the limit on dirty pages beyond what node 0 has" },
	{}
};
