// SPDX-License-Identifier: GPL-2.0
/*
 * The device's page table, in guest RAM: written here, walked by the device.
 *
 * The top byte of an entry is the device's (ACCESSED, DIRTY: it stores that
 * byte alone), so taking a translation away needs no compare-and-exchange
 * between two machines: clear VALID, have the invalidate acknowledged, read
 * DIRTY, clear the entry. An entry between the first and the last step carries
 * PTE_TAKEN, a bit that the device does not look at.
 *
 * A table page counts its non-zero entries in page->private. All under pt_lock.
 */
#include <linux/hmm.h>

#include "aside.h"
#include "device.h"
#include "hbm.h"
#include "mirror.h"
#include "oracle.h"
#include "pagetable.h"
#include "walk.h"

static struct page *table_new(gfp_t gfp)
{
	struct page *page = alloc_page(gfp | __GFP_ZERO);

	if (page)
		set_page_private(page, 0);
	return page;
}

static void table_count(struct devmodel_mirror *mirror, int by)
{
	atomic64_add(by, &mirror->page_table_pages);
	atomic64_add(by, &mirror->dev->stats.page_table_pages);
}

void devmodel_pt_free(struct devmodel_mirror *mirror, struct page *table)
{
	set_page_private(table, 0);
	devmodel_put_page(mirror->dev, table);
	table_count(mirror, -1);
}

/**
 * devmodel_pt_init() - the empty page table of a new mirror
 * @mirror: the mirror
 *
 * Return: 0 or -ENOMEM.
 */
int devmodel_pt_init(struct devmodel_mirror *mirror)
{
	mirror->root = table_new(GFP_KERNEL_ACCOUNT);
	if (!mirror->root)
		return -ENOMEM;
	table_count(mirror, 1);
	return 0;
}

/**
 * devmodel_pt_stash_fill() - have the tables that one mapping may need
 * @stash: as many as there are levels below the root
 *
 * Under pt_lock nothing may be allocated that could reclaim memory.
 *
 * Return: 0 or -ENOMEM.
 */
int devmodel_pt_stash_fill(struct devmodel_pt_stash *stash)
{
	while (stash->count < ARRAY_SIZE(stash->pages)) {
		struct page *page = table_new(GFP_KERNEL_ACCOUNT);

		if (!page)
			return -ENOMEM;
		stash->pages[stash->count++] = page;
	}
	return 0;
}

void devmodel_pt_stash_free(struct devmodel_pt_stash *stash)
{
	while (stash->count)
		__free_page(stash->pages[--stash->count]);
}

/* Give the root back: all below it is gone, and the device uses the context no longer. */
void devmodel_pt_fini(struct devmodel_mirror *mirror)
{
	if (!mirror->root)
		return;
	devmodel_pt_free(mirror, mirror->root);
	mirror->root = NULL;
}

static struct page *pt_table_below(struct devmodel_mirror *mirror,
				   struct devmodel_pt_stash *stash,
				   struct page *table, unsigned long address, int level)
{
	u64 *entry = &pt_entries(table)[pt_index(address, level)];
	u64 value = READ_ONCE(*entry);
	struct page *below;

	if (value & DEVMODEL_PTE_VALID)
		return pt_below(value);
	if (WARN_ON_ONCE(!stash->count))
		return NULL;
	below = stash->pages[--stash->count];
	table_count(mirror, 1);
	/* The table is zero before the device can reach it. */
	virt_store_release(entry, page_to_phys(below) | DEVMODEL_PTE_VALID);
	set_page_private(table, page_private(table) + 1);
	return below;
}

static u64 pt_entry(struct devmodel_mirror *mirror, unsigned long hmm_pfn, bool exclusive)
{
	struct page *page = hmm_pfn_to_page(hmm_pfn);
	u64 value = devmodel_bus_address(mirror->dev, page) | DEVMODEL_PTE_VALID;

	if (!(hmm_pfn & HMM_PFN_WRITE))
		return value;
	/* No CPU reaches a private page, and its one writer in the device is us. */
	if (exclusive || is_device_private_page(page))
		value |= DEVMODEL_PTE_ATOMIC;
	return value | DEVMODEL_PTE_WRITE;
}

/* The kernel tells of every change first, so there is no other frame to be met. */
static bool pt_is_another(u64 old, u64 value, unsigned long address)
{
	u64 frame = DEVMODEL_PTE_ADDRESS | DEVMODEL_PTE_APERTURE;

	return WARN_ONCE((old & DEVMODEL_PTE_VALID) && ((old ^ value) & frame),
			 "devmodel: %#lx is mapped to another frame\n", address);
}

static void pt_set(struct page *table, u64 *entry, u64 value)
{
	u64 old = READ_ONCE(*entry);

	if (old & DEVMODEL_PTE_VALID) {
		/* More rights only; fewer come through an update. */
		entry_set_low(entry, old | value);
		return;
	}
	WRITE_ONCE(*entry, value);
	set_page_private(table, page_private(table) + 1);
}

/* Tell the oracle what pt_set() is about to make of a range, neighbours as one run. */
static void pt_tell(struct devmodel_mirror *mirror, const struct hmm_range *range,
		    bool exclusive)
{
	unsigned long i, count = (range->end - range->start) >> PAGE_SHIFT;
	unsigned long first = 0;
	u64 run = 0;

	if (!devmodel_oracle_listens(mirror->dev))
		return;
	for (i = 0; i <= count; i++) {
		u64 value = 0;

		if (i < count && (range->hmm_pfns[i] & HMM_PFN_VALID))
			value = pt_entry(mirror, range->hmm_pfns[i], exclusive);
		if (run && value == run + ((i - first) << PAGE_SHIFT))
			continue;
		if (run)
			devmodel_oracle_map(mirror, range->start + (first << PAGE_SHIFT),
					    i - first, run);
		run = value;
		first = i;
	}
}

static bool pt_is_huge(struct devmodel_mirror *mirror, const struct hmm_range *range)
{
	unsigned long first = range->hmm_pfns[0];
	unsigned long i;

	if (range->end - range->start != PT_LEAF_SIZE || !IS_ALIGNED(range->start, PT_LEAF_SIZE) ||
	    hmm_pfn_to_map_order(first) < DEVMODEL_LEVEL_BITS)
		return false;
	for (i = 1; i < PT_ENTRIES; i++)
		if (range->hmm_pfns[i] != first + i)
			return false;
	return true;
}

static int pt_map_huge(struct devmodel_mirror *mirror, struct page *table, u64 *entry,
		       const struct hmm_range *range, bool exclusive)
{
	u64 value = pt_entry(mirror, range->hmm_pfns[0], exclusive) | DEVMODEL_PTE_LEAF;

	if (pt_is_another(READ_ONCE(*entry), value, range->start))
		return -EEXIST;
	pt_tell(mirror, range, exclusive);
	pt_set(table, entry, value);
	return 0;
}

static int pt_map_small(struct devmodel_mirror *mirror, struct page *table,
			const struct hmm_range *range, bool exclusive)
{
	unsigned long i, count = (range->end - range->start) >> PAGE_SHIFT;
	u64 *entries = &pt_entries(table)[pt_index(range->start, 0)];

	for (i = 0; i < count; i++)
		if ((range->hmm_pfns[i] & HMM_PFN_VALID) &&
		    pt_is_another(READ_ONCE(entries[i]),
				  pt_entry(mirror, range->hmm_pfns[i], exclusive),
				  range->start + (i << PAGE_SHIFT)))
			return -EEXIST;
	pt_tell(mirror, range, exclusive);
	for (i = 0; i < count; i++)
		if (range->hmm_pfns[i] & HMM_PFN_VALID)
			pt_set(table, &entries[i],
			       pt_entry(mirror, range->hmm_pfns[i], exclusive));
	return 0;
}

/**
 * devmodel_pt_map() - give the device what hmm_range_fault() found
 * @mirror: the mirror, pt_lock held, the notifier's sequence checked
 * @stash: tables to use
 * @range: within one 2 MiB leaf's reach; pages that are not valid are left out
 * @exclusive: nobody else reaches the pages, see devmodel_mirror_exclusive()
 *
 * Return: 0; -ENOMEM if the stash ran out; -EEXIST if something else is mapped
 * there, which has to be taken away first: nothing was given.
 */
int devmodel_pt_map(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
		    const struct hmm_range *range, bool exclusive)
{
	struct page *table = mirror->root;
	int level;
	u64 *entry;

	for (level = DEVMODEL_LEVELS - 1; level > 1; level--) {
		table = pt_table_below(mirror, stash, table, range->start, level);
		if (!table)
			return -ENOMEM;
	}
	entry = &pt_entries(table)[pt_index(range->start, 1)];
	if (pt_is_huge(mirror, range) &&
	    (!READ_ONCE(*entry) || (READ_ONCE(*entry) & DEVMODEL_PTE_LEAF)))
		return pt_map_huge(mirror, table, entry, range, exclusive);
	/* Small pages where a huge one is: the old leaf goes first. */
	if (READ_ONCE(*entry) & DEVMODEL_PTE_LEAF)
		return -EEXIST;
	table = pt_table_below(mirror, stash, table, range->start, 1);
	return table ? pt_map_small(mirror, table, range, exclusive) : -ENOMEM;
}
