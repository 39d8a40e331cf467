// SPDX-License-Identifier: MIT
/* What control groups do to the node: limits on memory, and who may name it. */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"
#include "../lib/memory.h"
#include "probe.h"

/* What the group of the probe of a limit may have; 16 MiB, half of what it touches. */
#define LIMIT		"16777216"

/* Bound to the node and touching twice what the group may have: half goes to the swap. */
static struct probe_count memory_limit(void)
{
	const long pages = PROBE_MANY / 2;
	char *address = probe_map_untouched(pages), *last;

	swap_on();
	group_enter("memory");
	PROBE_MUST(write_text(PROBE_CGROUPS "/probe/memory.max", LIMIT));
	policy_task(MPOL_BIND, probe_node);
	probe_touch(address, pages);
	/* What was touched last is there still, and comes back where it was if it is not. */
	last = address + (pages - PROBE_SOME) * page_size();
	probe_touch(last, PROBE_SOME);
	if (probe_on(address, pages, SYSTEM_NODE))
		probe_fail("bound pages lie on node %d", SYSTEM_NODE);
	return probe_arrived(last, PROBE_SOME);
}

/* A cpuset.mems of these nodes, by name, for this process. */
static void cpuset_of(unsigned long nodes)
{
	char text[64];
	int length = 0, node;

	for (node = 0; node < (int)(8 * sizeof(nodes)); node++)
		if (nodes >> node & 1)
			length += snprintf(text + length, sizeof(text) - length, "%s%d",
					   length ? "," : "", node);
	group_enter("cpuset");
	PROBE_MUST(write_text(PROBE_CGROUPS "/probe/cpuset.mems", text));
}

/* It tries to have pages on the node in every way that there is, and may be refused each. */
static struct probe_count contained(void)
{
	unsigned long node = 1UL << probe_node, home = 1UL << SYSTEM_NODE, nodes = node | home;
	const long size = PROBE_SOME * page_size();
	char *address = probe_map_untouched(4 * PROBE_SOME);
	char *named = address + size, *shared = named + size, *moved = shared + size;
	int target[1] = { probe_node }, status[1], dev = devmodel_open(NULL);
	void *page[1] = { moved };

	/* Named while it was allowed. */
	policy_range(address, PROBE_SOME, MPOL_BIND, probe_node);
	cpuset_of(home);
	probe_touch(address, PROBE_SOME);

	syscall(SYS_mbind, named, size, MPOL_BIND, &node, 8 * sizeof(node), 0);
	probe_touch(named, PROBE_SOME);
	syscall(SYS_mbind, shared, size, MPOL_INTERLEAVE, &nodes, 8 * sizeof(nodes), 0);
	probe_touch(shared, PROBE_SOME);
	probe_touch(moved, PROBE_SOME);
	syscall(SYS_move_pages, 0, 1, page, target, status, MPOL_MF_MOVE);
	syscall(SYS_migrate_pages, 0, 8 * sizeof(home), &home, &node);
	/* The pages of its own request; what the device's own faults move is the driver's. */
	if (dev >= 0)
		devmodel_migrate(dev, moved, size, DEVMODEL_TARGET_DEVICE, NULL, NULL);
	return probe_arrived(address, 4 * PROBE_SOME);
}

static struct probe_count named(void)
{
	char *address = probe_map_untouched(2 * PROBE_SOME);
	char *moved = address + PROBE_SOME * page_size();

	cpuset_of(1UL << SYSTEM_NODE | 1UL << probe_node);
	policy_range(address, PROBE_SOME, MPOL_BIND, probe_node);
	probe_touch(address, 2 * PROBE_SOME);
	move_to(moved, PROBE_SOME, probe_node);
	return probe_arrived(address, 2 * PROBE_SOME);
}

/* That it may be named does not make it a place for what names nothing. */
static struct probe_count named_unasked(void)
{
	cpuset_of(1UL << SYSTEM_NODE | 1UL << probe_node);
	pressure();
	return probe_arrived(probe_map(PROBE_MANY), PROBE_MANY);
}

const struct probe probes_groups[] = {
	{ "memory-limit", PROBE_ASKED, memory_limit,
	  "set_mempolicy, twice the memory that the control group may have" },
	{ "cpuset-contained", PROBE_NEVER, contained,
	  "every way to name the node, in a cpuset that has node 0 only" },
	{ "cpuset-named", PROBE_ASKED, named, "mbind and move_pages in a cpuset that names the node" },
	{ "cpuset-named-unasked", PROBE_SPILLS, named_unasked,
	  "anonymous memory in that cpuset, node 0 full" },
	{}
};
