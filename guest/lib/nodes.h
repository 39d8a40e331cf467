/* SPDX-License-Identifier: MIT */
/* NUMA nodes as the kernel tells of them, and what of a process lies there. */
#ifndef _NODES_H
#define _NODES_H

#include <stdbool.h>
#include <sys/types.h>

/* The node that has memory and no CPU, which is a device's; -1 if there is none. */
int nodes_device(void);
/* Whether this process may get memory there without asking for it. */
bool node_allowed(int node);

struct node_level {
	long free;	/* pages that nobody has */
	long low;	/* below so many, others nodes are asked, and reclaim begins */
	long min;	/* below so many, an allocation has to reclaim by itself */
};

/* Pages of a node, all its zones together; what is kept back for others counts into both marks. */
struct node_level node_level(int node);

/* Pages of @node that a process maps; 0 if the process is gone. */
long node_pages_of(pid_t pid, int node);
/* Pages of @node that are mapped by any other process than this one. */
long node_pages_of_others(int node);

#endif /* _NODES_H */
