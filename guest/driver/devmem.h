/* SPDX-License-Identifier: GPL-2.0 */
/* HBM as struct pages. */
#ifndef _DEVMODEL_DEVMEM_H
#define _DEVMODEL_DEVMEM_H

#include <linux/memremap.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "node.h"

struct devmodel_dev;

/**
 * struct devmodel_devmem - the HBM as struct pages
 * @pagemap: type, range and owner (the device)
 * @resource: the reserved, unbacked address range of a private pagemap
 * @node: the node, in the models that make it one; there is no pagemap then
 * @frames: how many there are; they are numbered from 0
 * @lock: protects @used, @lowest, @in_use, @lost, @bad, @retired and, as it ends, @ready
 * @used: which frames hold a page, or are retired
 * @lowest: no frame below is free
 * @in_use: frames that hold a page
 * @lost: frames whose page has no bytes any more, see loss.c
 * @bad: frames that failed
 * @retired: those of them that hold no page, and will hold none
 * @lost_work: has the pages of @lost go
 * @empty: woken when no frame holds a page any more
 * @clock_lock: one eviction at a time; protects @hand
 * @hand: the frame that eviction looks at next
 * @young: frames that the device has used since the hand passed
 * @ready: the pagemap exists
 */
struct devmodel_devmem {
	struct dev_pagemap pagemap;
	struct resource *resource;
	struct devmodel_node node;
	unsigned long frames;
	spinlock_t lock;	/* used, lowest, in_use, lost, bad, retired */
	unsigned long *used;
	unsigned long lowest;
	unsigned long in_use;
	unsigned long *lost;
	unsigned long *bad;
	unsigned long retired;
	struct delayed_work lost_work;
	wait_queue_head_t empty;
	struct mutex clock_lock;	/* hand */
	unsigned long hand;
	unsigned long *young;
	bool ready;
};

bool devmodel_devmem_is_held(struct devmodel_dev *dev);
int devmodel_devmem_init(struct devmodel_dev *dev);
void devmodel_devmem_fini(struct devmodel_dev *dev);

#endif /* _DEVMODEL_DEVMEM_H */
