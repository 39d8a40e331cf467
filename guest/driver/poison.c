// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that have no bytes: private pages of no device, with nothing behind
 * them. A touch is SIGBUS, as for memory that the hardware found to be bad.
 *
 * A page of HBM whose bytes are lost is migrated to one of them, and nothing is
 * copied. All who map it then find it lost, the frame is free, and neither the
 * device nor its driver has to stay for them: only this module has to.
 */
#include <linux/bitmap.h>
#include <linux/ioport.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "compat.h"
#include "device.h"
#include "poison.h"

/* A memory section: request_free_mem_region() takes no less. */
#define LOT_SIZE	SZ_128M
#define LOT_PAGES	(LOT_SIZE >> PAGE_SHIFT)

/**
 * struct lot - a stretch of page frame numbers, and its struct pages
 * @list: in lots
 * @pagemap: of the pages; it stays until the module goes
 * @resource: the page frame numbers; nothing answers there
 * @in_use: how many stand for a page
 * @lowest: none below is free
 * @used: which
 */
struct lot {
	struct list_head list;
	struct dev_pagemap pagemap;
	struct resource *resource;
	unsigned long in_use;
	unsigned long lowest;
	DECLARE_BITMAP(used, LOT_PAGES);
};

static LIST_HEAD(lots);
/* lots, and all in them but what a lot is made with */
static DEFINE_SPINLOCK(lots_lock);
static DEFINE_MUTEX(growing);
/* woken when a lot is not in use any more */
static DECLARE_WAIT_QUEUE_HEAD(empty);

static unsigned long first_pfn(const struct lot *lot)
{
	return PHYS_PFN(lot->pagemap.range.start);
}

static vm_fault_t touched(struct vm_fault *vmf)
{
	return VM_FAULT_HWPOISON;
}

/* The kernel finds that nothing lies there. */
static int failed(struct dev_pagemap *pagemap, unsigned long pfn, unsigned long pages, int flags)
{
	return 0;
}

static void let_go(DEVMODEL_FREED *freed)
{
	struct page *page = devmodel_freed_page(freed);
	struct lot *lot = page_pgmap(page)->owner;
	unsigned int order = folio_order(page_folio(page));
	unsigned long flags, at = page_to_pfn(page) - first_pfn(lot);

	devmodel_undo_compound(page, order);
	spin_lock_irqsave(&lots_lock, flags);
	bitmap_clear(lot->used, at, BIT(order));
	lot->in_use -= BIT(order);
	lot->lowest = min(lot->lowest, at);
	/* Under the lock: whoever waits for this takes the lot away. */
	if (!lot->in_use) {
		wake_up(&empty);
		module_put(THIS_MODULE);
	}
	spin_unlock_irqrestore(&lots_lock, flags);
}

static const struct dev_pagemap_ops poison_ops = {
	.DEVMODEL_PAGE_FREE = let_go,
	.migrate_to_ram = touched,
	.memory_failure = failed,
};

static struct lot *lot_new(void)
{
	struct lot *lot = kvzalloc(sizeof(*lot), GFP_KERNEL);
	struct range *range;
	void *ret;

	if (!lot)
		return NULL;
	lot->resource = request_free_mem_region(&iomem_resource, LOT_SIZE,
						"devmodel pages without bytes");
	if (IS_ERR(lot->resource))
		goto err_free;
	range = &lot->pagemap.range;
	range->start = lot->resource->start;
	range->end = range->start + LOT_SIZE - 1;
	lot->pagemap.type = MEMORY_DEVICE_PRIVATE;
	lot->pagemap.nr_range = 1;
	lot->pagemap.ops = &poison_ops;
	lot->pagemap.owner = lot;
	ret = memremap_pages(&lot->pagemap, NUMA_NO_NODE);
	if (IS_ERR(ret))
		goto err_region;
	return lot;

err_region:
	release_mem_region(lot->resource->start, resource_size(lot->resource));
err_free:
	kvfree(lot);
	return NULL;
}

/* Are there so many pages, and so many stretches of them that a huge page can be? */
static bool is_enough(unsigned long pages, unsigned long huge)
{
	unsigned long free = 0, whole = 0, at;
	struct lot *lot;

	spin_lock_irq(&lots_lock);
	list_for_each_entry(lot, &lots, list) {
		free += LOT_PAGES - lot->in_use;
		for (at = 0; at < LOT_PAGES; at += DEVMODEL_BATCH)
			whole += find_next_bit(lot->used, at + DEVMODEL_BATCH, at) >=
				 at + DEVMODEL_BATCH;
	}
	spin_unlock_irq(&lots_lock);
	return free >= pages && whole >= huge;
}

/**
 * devmodel_poison_reserve() - see that there are pages without bytes
 * @pages: how many
 * @huge: how many huge ones can be made of them
 *
 * Nothing is set aside: whoever comes first takes them. May sleep, for long.
 *
 * Return: 0 or -ENOMEM.
 */
int devmodel_poison_reserve(unsigned long pages, unsigned long huge)
{
	struct lot *lot;
	int ret = 0;

	mutex_lock(&growing);
	while (!ret && !is_enough(pages, huge)) {
		lot = lot_new();
		if (!lot) {
			ret = -ENOMEM;
			continue;
		}
		spin_lock_irq(&lots_lock);
		list_add(&lot->list, &lots);
		spin_unlock_irq(&lots_lock);
	}
	mutex_unlock(&growing);
	return ret;
}

static struct page *take(struct lot *lot, unsigned int order)
{
	unsigned long count = BIT(order), at;

	at = bitmap_find_next_zero_area(lot->used, LOT_PAGES, lot->lowest, count, count - 1);
	if (at >= LOT_PAGES)
		return NULL;
	/* The module stays for as long as one of its pages is mapped. */
	if (!lot->in_use)
		__module_get(THIS_MODULE);
	bitmap_set(lot->used, at, count);
	lot->in_use += count;
	if (!order)
		lot->lowest = at + 1;
	return pfn_to_page(first_pfn(lot) + at);
}

/**
 * devmodel_poison_page() - a page without bytes
 * @order: of the page that it is to stand for
 *
 * Return: a locked page with one reference, or NULL: see devmodel_poison_reserve().
 */
struct page *devmodel_poison_page(unsigned int order)
{
	struct page *page = NULL;
	unsigned long flags;
	struct lot *lot;

	spin_lock_irqsave(&lots_lock, flags);
	list_for_each_entry(lot, &lots, list) {
		page = take(lot, order);
		if (page)
			break;
	}
	/* Full ones are not to be gone through again and again. */
	if (page && lot->in_use == LOT_PAGES)
		list_move_tail(&lot->list, &lots);
	spin_unlock_irqrestore(&lots_lock, flags);
	if (!page)
		return NULL;
	devmodel_page_init(page, &lot->pagemap, order);
	page->zone_device_data = NULL;
	return page;
}

static bool is_empty(struct lot *lot)
{
	bool none;

	/* Taken so that who let the last one go is through with it. */
	spin_lock_irq(&lots_lock);
	none = !lot->in_use;
	spin_unlock_irq(&lots_lock);
	return none;
}

/* The module is being unloaded, which nobody can stop: wait for those who map such pages. */
void devmodel_poison_exit(void)
{
	struct lot *lot, *next;

	list_for_each_entry_safe(lot, next, &lots, list) {
		if (!is_empty(lot))
			pr_err("devmodel: unloading waits for the processes that map lost pages\n");
		wait_event_idle(empty, is_empty(lot));
		memunmap_pages(&lot->pagemap);
		release_mem_region(lot->resource->start, resource_size(lot->resource));
		kvfree(lot);
	}
}
