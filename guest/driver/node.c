// SPDX-License-Identifier: GPL-2.0
/*
 * HBM as a NUMA node of its own: movable memory without CPUs, hot-added from
 * the window of BAR 2. With model=numa it is a node like any other, far away
 * and of the slowest tier; with model=cdm the kernel gives its pages only to
 * those who name the node, for which it needs the patches in
 * guest/kernel/patches.
 */
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/memory.h>
#include <linux/node.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "device.h"
#include "node.h"

/* How long pages may take to leave the node before its removal is given up. */
#define LEAVE_TIMEOUT	(10 * HZ)

/* The kernel's name for memory that a driver adds begins so. */
#define RESOURCE_NAME	"System RAM (devmodel)"

static u64 node_start(struct devmodel_dev *dev)
{
	return pci_resource_start(dev->pdev, 2) + dev->identity.hbm_offset;
}

static int node_check(struct devmodel_dev *dev)
{
	struct device *log = &dev->pdev->dev;
	u64 size = dev->identity.hbm_size, block = memory_block_size_bytes();

	if (dev->model == DEVMODEL_MODEL_CDM && !DEVMODEL_HAS_CDM) {
		dev_err(log, "model=cdm: this kernel has no coherent device nodes (guest/kernel/patches adds them); model=numa works on it, but unrelated pages will land in the HBM\n");
		return -EOPNOTSUPP;
	}
	if (!dev->identity.hbm_offset) {
		dev_err(log, "a NUMA node needs HBM in BAR 2; this device was started without\n");
		return -ENODEV;
	}
	if (!size || !IS_ALIGNED(size, block) || !IS_ALIGNED(node_start(dev), block)) {
		dev_err(log, "HBM of %llu bytes at %#llx: memory is added in blocks of %llu MiB\n",
			size, node_start(dev), block >> 20);
		return -EINVAL;
	}
	if (dev->identity.node >= MAX_NUMNODES || !node_possible(dev->identity.node)) {
		dev_err(log, "node %u is not possible on this machine: its firmware does not name it\n",
			dev->identity.node);
		return -EINVAL;
	}
	return 0;
}

static void node_forget(struct devmodel_node *node)
{
	if (node->tier) {
		clear_node_memory_type(node->nid, node->tier);
		put_memory_type(node->tier);
		node->tier = NULL;
	}
	kfree(node->name);
	node->name = NULL;
}

/* Did an earlier driver have to leave the node behind? */
static bool node_is_there(const struct devmodel_node *node)
{
	struct page *page = pfn_to_online_page(node->start_pfn);

	return page && page_to_nid(page) == node->nid;
}

/**
 * devmodel_node_add() - make the HBM a NUMA node
 * @dev: the device; its model is numa or cdm
 *
 * Return: 0 or a negative errno; the log says why.
 */
int devmodel_node_add(struct devmodel_dev *dev)
{
	struct device *log = &dev->pdev->dev;
	struct devmodel_node *node = &dev->devmem.node;
	u64 size = dev->identity.hbm_size;
	mhp_t flags = MHP_NONE;
	int ret = node_check(dev);

	if (ret)
		return ret;
	node->nid = dev->identity.node;
	node->start_pfn = PHYS_PFN(node_start(dev));
	node->end_pfn = node->start_pfn + PHYS_PFN(size);
	if (node_is_there(node)) {
		dev_info(log, "node %d is there already\n", node->nid);
		return 0;
	}
	if (dev->model == DEVMODEL_MODEL_CDM) {
		flags |= MHP_COHERENT_DEVICE;
	} else {
		/* A tier below the CPUs' memory: where cold pages are demoted to. */
		node->tier = alloc_memory_type(MEMTIER_ADISTANCE_DRAM * 5);
		if (IS_ERR(node->tier))
			return PTR_ERR(node->tier);
		init_node_memory_type(node->nid, node->tier);
	}
	/* The memory may outlive this module, and its name has to. */
	node->name = kstrdup(RESOURCE_NAME, GFP_KERNEL);
	ret = node->name ? add_memory_driver_managed(node->nid, node_start(dev), size,
						     node->name, flags) : -ENOMEM;
	if (ret) {
		dev_err(log, "node %d could not be added: %d\n", node->nid, ret);
		goto err_tier;
	}
	if (!node_state(node->nid, N_MEMORY)) {
		dev_err(log, "the memory of node %d stayed offline: boot with memhp_default_state=online_movable\n",
			node->nid);
		ret = -EAGAIN;
		goto err_remove;
	}
	if (!is_zone_movable_page(pfn_to_page(node->start_pfn))) {
		dev_err(log, "the memory of node %d is not movable: boot with memhp_default_state=online_movable\n",
			node->nid);
		ret = -EINVAL;
		goto err_remove;
	}
	return 0;

err_remove:
	WARN_ON(offline_and_remove_memory(node_start(dev), size));
err_tier:
	node_forget(node);
	return ret;
}

/**
 * devmodel_node_alloc() - take a free page of the node
 * @dev: the device
 *
 * Return: a locked page with one reference, or NULL: the node is full.
 */
struct page *devmodel_node_alloc(struct devmodel_dev *dev)
{
	/* A page that finds no room stays where it is: not worth reclaiming for again and again. */
	struct page *page = alloc_pages_node(dev->devmem.node.nid,
					     GFP_HIGHUSER_MOVABLE | __GFP_THISNODE |
					     __GFP_NOWARN | __GFP_NORETRY, 0);

	if (page)
		lock_page(page);
	return page;
}

struct removal {
	struct devmodel_dev *dev;
	struct completion done;
	int result;
};

static int removal_thread(void *data)
{
	struct removal *removal = data;
	struct devmodel_dev *dev = removal->dev;

	/* A page that is pinned is tried again for ever, or until a signal comes. */
	allow_signal(SIGTERM);
	removal->result = offline_and_remove_memory(node_start(dev), dev->identity.hbm_size);
	complete(&removal->done);
	while (!kthread_should_stop()) {
		flush_signals(current);
		schedule_timeout_interruptible(HZ);
	}
	return 0;
}

/**
 * devmodel_node_used() - count the pages of a node that hold something
 * @dev: the device
 *
 * Return: how many; a moment's truth while the node is in use.
 */
unsigned long devmodel_node_used(struct devmodel_dev *dev)
{
	struct devmodel_node *node = &dev->devmem.node;
	unsigned long pfn, used = 0;

	for (pfn = node->start_pfn; pfn < node->end_pfn; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		used += page && page_count(page);
		if (IS_ALIGNED(pfn, MAX_ORDER_NR_PAGES))
			cond_resched();
	}
	return used;
}

/**
 * devmodel_node_remove() - move all pages off the node and take it away
 * @dev: the device
 *
 * Return: 0, or -EBUSY if pages would not move within 10 s; then the node is
 * as it was, and stays when the driver goes. The next driver finds it.
 */
int devmodel_node_remove(struct devmodel_dev *dev)
{
	struct devmodel_node *node = &dev->devmem.node;
	struct removal removal = { .dev = dev };
	struct task_struct *thread;

	init_completion(&removal.done);
	thread = kthread_run(removal_thread, &removal, "%s-node", dev->name);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	if (!wait_for_completion_timeout(&removal.done, LEAVE_TIMEOUT)) {
		send_sig(SIGTERM, thread, 1);
		wait_for_completion(&removal.done);
	}
	kthread_stop(thread);
	if (removal.result) {
		dev_err(&dev->pdev->dev, "node %d stays: %lu of its pages are in use, and not all of them would move\n",
			node->nid, devmodel_node_used(dev));
		return -EBUSY;
	}
	node_forget(node);
	return 0;
}
