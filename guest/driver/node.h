/* SPDX-License-Identifier: GPL-2.0 */
/* HBM as a NUMA node. */
#ifndef _DEVMODEL_NODE_H
#define _DEVMODEL_NODE_H

#include <linux/mm.h>

struct devmodel_dev;
struct memory_dev_type;

/**
 * struct devmodel_node - the HBM as a NUMA node
 * @nid: the node
 * @start_pfn: its first page
 * @end_pfn: after its last page
 * @tier: memory type that puts it into a tier of its own; NULL with model=cdm
 * @name: what the kernel calls the memory
 */
struct devmodel_node {
	int nid;
	unsigned long start_pfn;
	unsigned long end_pfn;
	struct memory_dev_type *tier;
	const char *name;
};

int devmodel_node_add(struct devmodel_dev *dev);
int devmodel_node_remove(struct devmodel_dev *dev);
unsigned long devmodel_node_used(struct devmodel_dev *dev);
struct page *devmodel_node_alloc(struct devmodel_dev *dev);

static inline bool devmodel_on_node(const struct devmodel_node *node, struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	return pfn >= node->start_pfn && pfn < node->end_pfn;
}

#endif /* _DEVMODEL_NODE_H */
