// SPDX-License-Identifier: MIT
/* Every way to name the node: what is asked for has to arrive. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"
#include "../lib/memory.h"
#include "probe.h"

static struct probe_count bind_range(void)
{
	char *address = probe_map_untouched(PROBE_SOME);

	policy_range(address, PROBE_SOME, MPOL_BIND, probe_node);
	probe_touch(address, PROBE_SOME);
	return probe_arrived(address, PROBE_SOME);
}

static struct probe_count by_policy(int mode)
{
	char *address = probe_map_untouched(PROBE_SOME);

	policy_task(mode, probe_node);
	probe_touch(address, PROBE_SOME);
	policy_task(MPOL_DEFAULT, -1);
	return probe_arrived(address, PROBE_SOME);
}

static struct probe_count bind_task(void)
{
	return by_policy(MPOL_BIND);
}

static struct probe_count preferred(void)
{
	return by_policy(MPOL_PREFERRED);
}

static struct probe_count preferred_many(void)
{
	return by_policy(MPOL_PREFERRED_MANY);
}

/* Every second page is the node's. */
static struct probe_count interleave(void)
{
	unsigned long nodes = 1UL << SYSTEM_NODE | 1UL << probe_node;
	char *address = probe_map_untouched(PROBE_SOME);

	PROBE_MUST(!syscall(SYS_mbind, address, PROBE_SOME * page_size(), MPOL_INTERLEAVE,
			    &nodes, 8 * sizeof(nodes), 0));
	probe_touch(address, PROBE_SOME);
	return (struct probe_count) {
		probe_on(address, PROBE_SOME, probe_node), PROBE_SOME / 2
	};
}

static struct probe_count bind_huge(void)
{
	const long huge = 8;
	char *address = probe_map_huge(huge);

	PROBE_MUST(!madvise(address, huge * HUGE_PAGES * page_size(), MADV_HUGEPAGE));
	policy_range(address, huge * HUGE_PAGES, MPOL_BIND, probe_node);
	probe_touch(address, huge * HUGE_PAGES);
	if (field_in("/proc/self/smaps_rollup", "AnonHugePages:") <
	    huge * HUGE_PAGES * (long)page_size() / 1024)
		probe_fail("the pages are not huge");
	return probe_arrived(address, huge * HUGE_PAGES);
}

/* A policy of the file's, which whoever touches it follows. */
static struct probe_count bind_shared(void)
{
	int fd = probe_file("/dev/shm", PROBE_SOME);
	char *address = mmap(NULL, PROBE_SOME * page_size(), PROT_READ | PROT_WRITE,
			     MAP_SHARED, fd, 0);

	PROBE_MUST(address != MAP_FAILED);
	policy_range(address, PROBE_SOME, MPOL_BIND, probe_node);
	probe_touch(address, PROBE_SOME);
	return probe_arrived(address, PROBE_SOME);
}

static struct probe_count bind_page_cache(void)
{
	int fd = probe_file(PROBE_DISK, PROBE_SOME);
	char *address = mmap(NULL, PROBE_SOME * page_size(), PROT_READ, MAP_SHARED, fd, 0);

	PROBE_MUST(address != MAP_FAILED);
	policy_task(MPOL_BIND, probe_node);
	PROBE_MUST(!madvise(address, PROBE_SOME * page_size(), MADV_POPULATE_READ));
	policy_task(MPOL_DEFAULT, -1);
	return probe_arrived(address, PROBE_SOME);
}

/* What is there already moves with the policy. */
static struct probe_count bind_move(void)
{
	unsigned long nodes = 1UL << probe_node;
	char *address = probe_map(PROBE_SOME);

	PROBE_MUST(!syscall(SYS_mbind, address, PROBE_SOME * page_size(), MPOL_BIND, &nodes,
			    8 * sizeof(nodes), MPOL_MF_MOVE | MPOL_MF_STRICT));
	return probe_arrived(address, PROBE_SOME);
}

static struct probe_count by_move_pages(void)
{
	char *address = probe_map(PROBE_SOME);

	move_to(address, PROBE_SOME, probe_node);
	return probe_arrived(address, PROBE_SOME);
}

static struct probe_count by_migrate_pages(void)
{
	unsigned long from = 1UL << SYSTEM_NODE, to = 1UL << probe_node;
	char *address = probe_map(PROBE_SOME);

	PROBE_MUST(syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to) >= 0);
	return probe_arrived(address, PROBE_SOME);
}

/* By the device's DMA engine, to pages that the driver takes with __GFP_THISNODE. */
static struct probe_count by_driver(void)
{
	char *address = probe_map(PROBE_SOME);
	int dev = devmodel_open(NULL);

	if (dev < 0 || devmodel_migrate(dev, address, PROBE_SOME * page_size(),
					DEVMODEL_TARGET_DEVICE, NULL, NULL))
		probe_fail("%s", devmodel_error());
	return probe_arrived(address, PROBE_SOME);
}

const struct probe probes_asked[] = {
	{ "bind", PROBE_ASKED, bind_range, "mbind(MPOL_BIND)" },
	{ "bind-task", PROBE_ASKED, bind_task, "set_mempolicy(MPOL_BIND)" },
	{ "bind-move", PROBE_ASKED, bind_move, "mbind(MPOL_MF_MOVE) of pages on node 0" },
	{ "bind-thp", PROBE_ASKED, bind_huge, "mbind, transparent huge pages" },
	{ "bind-tmpfs", PROBE_ASKED, bind_shared, "mbind of a tmpfs file" },
	{ "bind-page-cache", PROBE_ASKED, bind_page_cache, "set_mempolicy, an ext4 file" },
	{ "preferred", PROBE_ASKED, preferred, "set_mempolicy(MPOL_PREFERRED)" },
	{ "preferred-many", PROBE_ASKED, preferred_many, "set_mempolicy(MPOL_PREFERRED_MANY)" },
	{ "interleave", PROBE_ASKED, interleave, "interleave over node 0 and the node" },
	{ "move-pages", PROBE_ASKED, by_move_pages, "move_pages" },
	{ "migrate-pages", PROBE_ASKED, by_migrate_pages, "migrate_pages" },
	{ "driver", PROBE_ASKED, by_driver, "DEVMODEL_IOC_MIGRATE, the device's DMA engine" },
	{}
};
