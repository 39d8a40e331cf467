// SPDX-License-Identifier: MIT
/* What must not lie in memory that can be unplugged: the kernel's own, and long-term pins. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

static long clamp(long pages)
{
	return pages > 0 ? pages : 0;
}

/* Names that are not there: each leaves an entry of the kernel's in its cache. */
static struct probe_count slab(void)
{
	long before = node_pages(probe_node, "Slab"), all = node_pages(SYSTEM_NODE, "Slab");
	const int names = 60000;
	char path[80];
	int i;

	pressure();
	for (i = 0; i < names; i++) {
		snprintf(path, sizeof(path), PROBE_DISK "/none-%d", i);
		access(path, F_OK);
	}
	all = node_pages(SYSTEM_NODE, "Slab") - all;
	if (all < PROBE_SOME)
		probe_fail("the slabs grew by %ld pages only", all);
	return (struct probe_count) { clamp(node_pages(probe_node, "Slab") - before), all };
}

/* One read in every 2 MiB: a page table each, and the zero page. */
static struct probe_count page_tables(void)
{
	const long tables = 4096;
	long before = node_pages(probe_node, "PageTables");
	volatile char *address = probe_map_untouched(tables * HUGE_PAGES);
	long i, seen = node_pages(SYSTEM_NODE, "PageTables");

	pressure();
	for (i = 0; i < tables; i++)
		(void)address[i * HUGE_PAGES * page_size()];
	seen = node_pages(SYSTEM_NODE, "PageTables") - seen;
	/* Others' come and go meanwhile. */
	if (seen < tables * 9 / 10)
		probe_fail("the page tables grew by %ld pages only", seen);
	return (struct probe_count) { clamp(node_pages(probe_node, "PageTables") - before), seen };
}

/* Buffers that io_uring keeps pinned: pages that were put on the node have to leave it. */
static struct probe_count long_term_pin(void)
{
	struct io_uring_params parameters = {};
	int ring = syscall(SYS_io_uring_setup, 4, &parameters);
	char *address = probe_map(PROBE_SOME);
	struct iovec buffer = { address, PROBE_SOME * page_size() };

	PROBE_MUST(ring >= 0);
	move_to(address, PROBE_SOME, probe_node);
	PROBE_MUST(!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	return probe_arrived(address, PROBE_SOME);
}

const struct probe probes_kernel[] = {
	{ "slab", PROBE_NEVER, slab, "the kernel's own objects, node 0 full" },
	{ "page-tables", PROBE_NEVER, page_tables, "page tables, node 0 full" },
	{ "long-term-pin", PROBE_NEVER, long_term_pin,
	  "pages on the node are pinned by io_uring: they leave it" },
	{}
};
