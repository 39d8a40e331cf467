// SPDX-License-Identifier: GPL-2.0
/*
 * Rights are taken away from the device: invariant 1 is kept here. See the
 * steps in pagetable.c.
 */
#include "aside.h"
#include "context.h"
#include "device.h"
#include "hbm.h"
#include "mirror.h"
#include "oracle.h"
#include "pagetable.h"
#include "state.h"
#include "update.h"
#include "walk.h"

/* First pass of an update: take rights away from entries, leave the frame. */
static void visit_take(struct pt_walk *walk, struct page *table, u64 *entry,
		       unsigned long address, int level)
{
	const u64 rights = DEVMODEL_PTE_VALID | DEVMODEL_PTE_WRITE | DEVMODEL_PTE_ATOMIC;
	u64 value = READ_ONCE(*entry);

	if (!(value & rights & ~walk->pte_mask))
		return;
	entry_set_low(entry, (value & walk->pte_mask) |
		      (value & DEVMODEL_PTE_ADDRESS) |
		      (value & DEVMODEL_PTE_LEAF) | PTE_TAKEN);
	if (!walk->count++)
		walk->first = address;
	walk->last = address + (1UL << pt_shift(level));
}

static bool entry_dirty_page(struct devmodel_mirror *mirror, u64 value)
{
	struct page *page = devmodel_bus_page(mirror->dev, value);

	/*
	 * The CPU's page table maps the page until this callback returns, so
	 * it can neither be freed nor truncated under us.
	 */
	if (!page)
		return false;
	set_page_dirty(page);
	atomic64_inc(&mirror->dev->stats.pages_dirtied);
	return true;
}

/* It may be written to by a device that did not acknowledge the update. */
static void entry_hold_page(struct devmodel_mirror *mirror, u64 value)
{
	struct page *page;

	if (!devmodel_is_lost(mirror->dev))
		return;
	page = devmodel_bus_page(mirror->dev, value);
	if (page)
		devmodel_hold_page(mirror->dev, page);
}

/* Tell the oracle of dirty pages, neighbours as one run; at the end of a walk all that is left. */
static void walk_tell_dirty(struct pt_walk *walk, unsigned long start, unsigned long end)
{
	if (!devmodel_oracle_listens(walk->mirror->dev))
		return;
	if (start != walk->dirty_end || start == end) {
		if (walk->dirty_start != walk->dirty_end)
			devmodel_oracle_dirty(walk->mirror, walk->dirty_start, walk->dirty_end);
		walk->dirty_start = start;
	}
	walk->dirty_end = end;
}

/* Second pass, once it is acknowledged: what the device wrote is now final. */
static void visit_settle(struct pt_walk *walk, struct page *table, u64 *entry,
			 unsigned long address, int level)
{
	u64 value = READ_ONCE(*entry);

	if (!(value & PTE_TAKEN))
		return;
	entry_hold_page(walk->mirror, value);
	if ((value & DEVMODEL_PTE_DIRTY) && entry_dirty_page(walk->mirror, value))
		walk_tell_dirty(walk, address, address + (1UL << pt_shift(level)));
	if (value & DEVMODEL_PTE_VALID) {
		entry_set_low(entry, value & ~PTE_TAKEN);
		entry_clear_device_byte(entry);
	} else {
		WRITE_ONCE(*entry, 0);
		set_page_private(table, page_private(table) - 1);
	}
}

/* Detach the empty tables of a range onto @freed; the device may still walk them. */
static void pt_prune_level(struct page *table, int level, unsigned long start,
			   unsigned long end, struct list_head *freed)
{
	unsigned long size = 1UL << pt_shift(level);
	unsigned long address = start & ~(size - 1);
	u64 *entries = pt_entries(table);

	if (!level || !page_private(table))
		return;
	for (; address < end; address += size) {
		u64 *entry = &entries[pt_index(address, level)];
		u64 value = READ_ONCE(*entry);
		struct page *below;

		if (!(value & DEVMODEL_PTE_VALID) || (value & DEVMODEL_PTE_LEAF))
			continue;
		below = pt_below(value);
		pt_prune_level(below, level - 1, max(start, address),
			       min(end, address + size), freed);
		if (page_private(below))
			continue;
		WRITE_ONCE(*entry, 0);
		set_page_private(table, page_private(table) - 1);
		list_add(&below->lru, freed);
	}
}

static void pt_prune(struct devmodel_mirror *mirror, unsigned long start,
		     unsigned long end)
{
	unsigned long limit = 1UL << pt_shift(DEVMODEL_LEVELS);
	struct page *page, *next;
	LIST_HEAD(freed);

	end = min(end, limit);
	if (start >= end)
		return;
	pt_prune_level(mirror->root, DEVMODEL_LEVELS - 1, start, end, &freed);
	if (list_empty(&freed))
		return;
	/*
	 * A walk that began before the entry was cleared may still read the
	 * table; it is over when this is acknowledged.
	 */
	devmodel_context_invalidate(mirror, start & PAGE_MASK, PAGE_ALIGN(end));
	list_for_each_entry_safe(page, next, &freed, lru) {
		list_del(&page->lru);
		devmodel_pt_free(mirror, page);
	}
}

/**
 * devmodel_pt_update() - take rights away from the device
 * @mirror: the mirror, pt_lock held
 * @start: first byte
 * @end: after the last byte
 * @pte_mask: rights that stay: 0, or ~WRITE (the 2015 interface's new_pte =
 *	old_pte & pte_mask)
 * @free_tables: give the range's page-table pages back
 *
 * When this returns the device has stopped using the old translations, and
 * what it wrote through them is dirty in the struct page. A huge leaf that is
 * partly in the range goes as a whole; the device faults it in again.
 */
void devmodel_pt_update(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, u64 pte_mask, bool free_tables)
{
	struct pt_walk walk = {
		.mirror = mirror, .start = start, .end = end, .pte_mask = pte_mask,
		.visit = visit_take,
	};

	pt_walk(&walk);
	if (walk.count) {
		devmodel_context_invalidate(mirror, walk.first, walk.last);
		walk.visit = visit_settle;
		pt_walk(&walk);
		walk_tell_dirty(&walk, 0, 0);
		if (devmodel_oracle_listens(mirror->dev))
			devmodel_oracle_update(mirror, walk.first, walk.last, pte_mask);
	}
	if (free_tables)
		pt_prune(mirror, start, end);
}
