// SPDX-License-Identifier: GPL-2.0
/*
 * The device's page table as it is: one traversal for all who look at it or take
 * from it, and those who only look.
 */
#include "hbm.h"
#include "mirror.h"
#include "walk.h"

static void pt_walk_level(struct pt_walk *walk, struct page *table, int level,
			  unsigned long start, unsigned long end)
{
	unsigned long size = 1UL << pt_shift(level);
	unsigned long address = start & ~(size - 1);
	u64 *entries = pt_entries(table);

	if (!page_private(table))
		return;
	for (; address < end && !walk->done; address += size) {
		u64 *entry = &entries[pt_index(address, level)];
		u64 value = READ_ONCE(*entry);

		if (!(value & ~(DEVMODEL_PTE_ACCESSED | DEVMODEL_PTE_DIRTY)))
			continue;
		if (level && !(value & DEVMODEL_PTE_LEAF))
			pt_walk_level(walk, pt_below(value), level - 1,
				      max(start, address), min(end, address + size));
		else
			walk->visit(walk, table, entry, address, level);
	}
}

void pt_walk(struct pt_walk *walk)
{
	unsigned long limit = 1UL << pt_shift(DEVMODEL_LEVELS);

	walk->end = min(walk->end, limit);
	if (walk->mirror->root && walk->start < walk->end)
		pt_walk_level(walk, walk->mirror->root, DEVMODEL_LEVELS - 1,
			      walk->start, walk->end);
}

static void visit_count(struct pt_walk *walk, struct page *table, u64 *entry,
			unsigned long address, int level)
{
	u64 value = READ_ONCE(*entry);

	walk->tally.entries++;
	if (value & DEVMODEL_PTE_VALID)
		walk->tally.valid += BIT(level * DEVMODEL_LEVEL_BITS);
	if (value & DEVMODEL_PTE_WRITE)
		walk->tally.writable += BIT(level * DEVMODEL_LEVEL_BITS);
}

/* What the device may do in a range: entries in use, pages valid, pages writable. */
struct devmodel_pt_count devmodel_pt_count(struct devmodel_mirror *mirror,
					   unsigned long start, unsigned long end)
{
	struct pt_walk walk = {
		.mirror = mirror, .start = start, .end = end, .visit = visit_count,
	};

	pt_walk(&walk);
	return walk.tally;
}

static void visit_read(struct pt_walk *walk, struct page *table, u64 *entry,
		       unsigned long address, int level)
{
	unsigned long size = 1UL << pt_shift(level);
	unsigned long from = max(address, walk->start);
	unsigned long to = min(address + size, walk->end);
	u64 value = READ_ONCE(*entry);

	for (; from < to; from += PAGE_SIZE)
		walk->ptes[(from - walk->start) >> PAGE_SHIFT] =
			value + ((from - address) & ~(PAGE_SIZE - 1));
}

/**
 * devmodel_pt_read() - the device page table's entries of a range
 * @mirror: the mirror, pt_lock held
 * @start: page aligned
 * @end: page aligned
 * @ptes: one per page; the pages of a huge leaf each with their own address
 */
void devmodel_pt_read(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, u64 *ptes)
{
	struct pt_walk walk = {
		.mirror = mirror, .start = start, .end = end, .ptes = ptes,
		.visit = visit_read,
	};

	memset(ptes, 0, ((end - start) >> PAGE_SHIFT) * sizeof(*ptes));
	pt_walk(&walk);
}

static void visit_exclusive(struct pt_walk *walk, struct page *table, u64 *entry,
			    unsigned long address, int level)
{
	u64 value = READ_ONCE(*entry);
	struct page *page;

	if (!(value & DEVMODEL_PTE_ATOMIC))
		return;
	/* Private pages are the device's by nature. */
	page = devmodel_bus_page(walk->mirror->dev, value);
	if (!page || is_device_private_page(page))
		return;
	walk->first = address;
	walk->done = true;
}

/**
 * devmodel_pt_exclusive() - find a page that the CPUs have been kept away from
 * @mirror: the mirror, pt_lock held
 * @start: page aligned; set to the first such page from there on
 * @end: page aligned
 *
 * Return: whether there is one.
 */
bool devmodel_pt_exclusive(struct devmodel_mirror *mirror, unsigned long *start,
			   unsigned long end)
{
	struct pt_walk walk = {
		.mirror = mirror, .start = *start, .end = end, .visit = visit_exclusive,
	};

	pt_walk(&walk);
	if (walk.done)
		*start = walk.first;
	return walk.done;
}
