// SPDX-License-Identifier: MIT
/* Huge pages that are set aside. */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

#define POOL		"hugepages/hugepages-2048kB"
#define GLOBAL		"/sys/kernel/mm/" POOL
#define COUNT		8

static const char *pool_of_node(void)
{
	static char path[100];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/" POOL "/nr_hugepages",
		 probe_node);
	return path;
}

void probe_pool(int huge_pages)
{
	setting(pool_of_node(), "%d", huge_pages);
}

static struct probe_count pool_arrived(void)
{
	return (struct probe_count) {
		number_in(pool_of_node()) * HUGE_PAGES, COUNT * HUGE_PAGES
	};
}

static struct probe_count global_pool(void)
{
	setting(GLOBAL "/nr_hugepages", "%d", COUNT);
	return pool_arrived();
}

static struct probe_count node_pool(void)
{
	probe_pool(COUNT);
	return pool_arrived();
}

/* NULL: the kernel would not promise that many. */
static char *map_pool(int flags)
{
	char *address = mmap(NULL, COUNT * HUGE_PAGES * page_size(), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);

	return address == MAP_FAILED ? NULL : address;
}

static struct probe_count touch_and_count(char *address)
{
	PROBE_MUST(address);
	probe_touch(address, COUNT * HUGE_PAGES);
	return probe_arrived(address, COUNT * HUGE_PAGES);
}

/* The pool has pages, all of them on the node. Nobody is told to take them. */
static struct probe_count unasked_fault(void)
{
	char *address;

	probe_pool(COUNT);
	address = map_pool(0);
	if (!address)
		return (struct probe_count) { 0, COUNT * HUGE_PAGES };
	return touch_and_count(address);
}

/* Beyond the pool, while node 0 is full. */
static struct probe_count surplus(void)
{
	char *address;

	setting(GLOBAL "/nr_overcommit_hugepages", "%d", COUNT);
	pressure();
	address = map_pool(0);
	if (!address)
		return (struct probe_count) { 0, COUNT * HUGE_PAGES };
	return touch_and_count(address);
}

static struct probe_count bind_task(void)
{
	char *address;

	probe_pool(COUNT);
	policy_task(MPOL_BIND, probe_node);
	address = map_pool(0);
	if (!address)
		probe_fail("mmap of %d huge pages was refused to a task bound to their node", COUNT);
	return touch_and_count(address);
}

/* mmap() does not know yet what mbind() will name, so nothing is reserved by it. */
static struct probe_count bind_range(void)
{
	char *address;

	probe_pool(COUNT);
	address = map_pool(MAP_NORESERVE);
	PROBE_MUST(address);
	policy_range(address, COUNT * HUGE_PAGES, MPOL_BIND, probe_node);
	return touch_and_count(address);
}

const struct probe probes_hugetlb[] = {
	{ "hugetlb-pool", PROBE_SPILLS, global_pool, "nr_hugepages of the whole machine" },
	{ "hugetlb-fault", PROBE_SPILLS, unasked_fault,
	  "huge pages wanted, the pool has them on the node only" },
	{ "hugetlb-surplus", PROBE_SPILLS, surplus, "huge pages beyond the pool, node 0 full" },
	{ "hugetlb-node-pool", PROBE_ASKED, node_pool, "nr_hugepages of the node" },
	{ "hugetlb-bind-task", PROBE_ASKED, bind_task, "set_mempolicy, huge pages of the pool" },
	{ "hugetlb-bind", PROBE_ASKED, bind_range, "mbind, huge pages of the pool" },
	{}
};
