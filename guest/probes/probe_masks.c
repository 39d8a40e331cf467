// SPDX-License-Identifier: MIT
/* Masks with all bits set: they mean wherever there is memory, and name no node. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/memory.h"
#include "probe.h"

#define WEIGHTED_INTERLEAVE	6	/* MPOL_WEIGHTED_INTERLEAVE, since 6.9 */

/* A policy of this task for all nodes that the kernel can count. False: no such policy. */
static bool policy_everywhere(int mode)
{
	unsigned long nodes;

	/* Bits that are too many are an error, as an unknown mode is. */
	for (nodes = ~0UL; nodes; nodes >>= 1) {
		if (!syscall(SYS_set_mempolicy, mode, &nodes, 8 * sizeof(nodes) + 1))
			return true;
		if (errno != EINVAL)
			probe_fail("set_mempolicy(%d, 0x%lx): %m", mode, nodes);
	}
	return false;
}

static struct probe_count interleaved(void)
{
	static const int modes[] = { MPOL_INTERLEAVE, WEIGHTED_INTERLEAVE };
	struct probe_count count = {};
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char *address = probe_map_untouched(PROBE_SOME);

		if (!policy_everywhere(modes[i])) {
			if (modes[i] == MPOL_INTERLEAVE)
				probe_fail("interleave over all nodes was refused");
			continue;
		}
		probe_touch(address, PROBE_SOME);
		count.arrived += probe_on(address, PROBE_SOME, probe_node);
		count.of += PROBE_SOME;
	}
	return count;
}

static struct probe_count under_pressure(int mode)
{
	pressure();
	PROBE_MUST(policy_everywhere(mode));
	return probe_arrived(probe_map(PROBE_MANY), PROBE_MANY);
}

static struct probe_count bound(void)
{
	return under_pressure(MPOL_BIND);
}

static struct probe_count preferred(void)
{
	return under_pressure(MPOL_PREFERRED_MANY);
}

const struct probe probes_masks[] = {
	{ "interleave-all", PROBE_SPILLS, interleaved, "interleave, all bits of the mask set" },
	{ "bind-all", PROBE_SPILLS, bound, "bound to a mask with all bits, node 0 full" },
	{ "preferred-all", PROBE_SPILLS, preferred,
	  "preferred-many with a mask of all bits, node 0 full" },
	{}
};
