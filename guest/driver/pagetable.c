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
#include <linux/bitops.h>

#include "devmodel.h"
#include "trace.h"

#define PTE_TAKEN	BIT_ULL(3)
#define ENTRIES		BIT(DEVMODEL_LEVEL_BITS)
#define LEAF_SIZE	BIT(level_shift(1))

static unsigned int level_shift(int level)
{
	return PAGE_SHIFT + level * DEVMODEL_LEVEL_BITS;
}

static unsigned int level_index(unsigned long address, int level)
{
	return (address >> level_shift(level)) & (ENTRIES - 1);
}

static u64 *table_of(struct page *page)
{
	return page_address(page);
}

static struct page *entry_table(u64 entry)
{
	return pfn_to_page((entry & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT);
}

/* A store to one half of an entry: the device's byte is in the other. */
static void entry_set_low(u64 *entry, u64 value)
{
	WRITE_ONCE(*(u32 *)entry, (u32)value);
}

static void entry_clear_device_byte(u64 *entry)
{
	WRITE_ONCE(((u8 *)entry)[DEVMODEL_PTE_DEVICE_BYTE], 0);
}

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

static void table_free(struct devmodel_mirror *mirror, struct page *page)
{
	set_page_private(page, 0);
	__free_page(page);
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

/*
 * The one traversal: calls @visit for every leaf entry slot in use in a range,
 * whatever its level. Entries of a range are visited in order of address.
 */
struct pt_walk {
	struct devmodel_mirror *mirror;
	unsigned long start;
	unsigned long end;
	void (*visit)(struct pt_walk *walk, struct page *table, u64 *entry,
		      unsigned long address, int level);
	u64 pte_mask;
	unsigned long first;
	unsigned long last;
	unsigned long count;
	unsigned long dirty_start;
	unsigned long dirty_end;
	struct devmodel_pt_count tally;
	u64 *ptes;
	unsigned long *young;
};

static void pt_walk_level(struct pt_walk *walk, struct page *table, int level,
			  unsigned long start, unsigned long end)
{
	unsigned long size = 1UL << level_shift(level);
	unsigned long address = start & ~(size - 1);
	u64 *entries = table_of(table);

	if (!page_private(table))
		return;
	for (; address < end; address += size) {
		u64 *entry = &entries[level_index(address, level)];
		u64 value = READ_ONCE(*entry);

		if (!(value & ~(DEVMODEL_PTE_ACCESSED | DEVMODEL_PTE_DIRTY)))
			continue;
		if (level && !(value & DEVMODEL_PTE_LEAF))
			pt_walk_level(walk, entry_table(value), level - 1,
				      max(start, address), min(end, address + size));
		else
			walk->visit(walk, table, entry, address, level);
	}
}

static void pt_walk(struct pt_walk *walk)
{
	unsigned long limit = 1UL << level_shift(DEVMODEL_LEVELS);

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
	unsigned long size = 1UL << level_shift(level);
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

static unsigned long hbm_frame(u64 entry)
{
	return (entry & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT;
}

static bool in_own_hbm(u64 entry)
{
	return (entry & DEVMODEL_PTE_APERTURE) >> DEVMODEL_PTE_APERTURE_SHIFT ==
	       DEVMODEL_APERTURE_HBM;
}

/* Have the device clear ACCESSED in the region at walk->first, if there is one. */
static void pt_age_region(struct pt_walk *walk)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_AGE,
		.ctx = walk->mirror->ctx,
		.va = walk->first,
		.length = (u64)DEVMODEL_AGE_PAGES << PAGE_SHIFT,
	};

	if (walk->count)
		devmodel_control_one(walk->mirror->dev, &command);
}

/* What has been used; walk->first is the 2 MiB region that is to be aged next. */
static void visit_age(struct pt_walk *walk, struct page *table, u64 *entry,
		      unsigned long address, int level)
{
	u64 value = READ_ONCE(*entry);
	unsigned long i;

	if (!(value & DEVMODEL_PTE_ACCESSED) || !in_own_hbm(value))
		return;
	for (i = 0; i < BIT(level * DEVMODEL_LEVEL_BITS); i++)
		set_bit(hbm_frame(value) + i, walk->young);
	if (walk->count && walk->first == (address & ~(LEAF_SIZE - 1)))
		return;
	pt_age_region(walk);
	walk->first = address & ~(LEAF_SIZE - 1);
	walk->count = 1;
}

/**
 * devmodel_pt_age() - which frames of its HBM has the device used?
 * @mirror: the mirror, pt_lock held
 * @young: a bit for each frame, set for those used since the last call
 */
void devmodel_pt_age(struct devmodel_mirror *mirror, unsigned long *young)
{
	struct pt_walk walk = {
		.mirror = mirror, .end = ULONG_MAX, .young = young, .visit = visit_age,
	};

	pt_walk(&walk);
	pt_age_region(&walk);
}

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
	walk->last = address + (1UL << level_shift(level));
}

static bool entry_dirty_page(struct devmodel_mirror *mirror, u64 value)
{
	struct page *page = devmodel_bus_page(mirror->dev, value & (DEVMODEL_PTE_ADDRESS |
								   DEVMODEL_PTE_APERTURE));

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
	if ((value & DEVMODEL_PTE_DIRTY) && entry_dirty_page(walk->mirror, value))
		walk_tell_dirty(walk, address, address + (1UL << level_shift(level)));
	if (value & DEVMODEL_PTE_VALID) {
		entry_set_low(entry, value & ~PTE_TAKEN);
		entry_clear_device_byte(entry);
	} else {
		WRITE_ONCE(*entry, 0);
		set_page_private(table, page_private(table) - 1);
	}
}

static int pt_invalidate(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_INVALIDATE,
		.ctx = mirror->ctx,
		.va = start,
		.length = end - start,
	};
	int ret;

	/* A stopped mirror has no context in the device, so nothing to invalidate. */
	if (mirror->stopped)
		return 0;
	ret = devmodel_control_one(mirror->dev, &command);
	trace_devmodel_invalidate(mirror->dev->id, mirror->ctx, start, end, ret);
	atomic64_inc(&mirror->invalidates);
	atomic64_inc(&mirror->dev->stats.invalidates);
	/* Without its context the device has no translations of this mirror's at all. */
	if (ret == -EPROTO)
		devmodel_mirror_cut(mirror);
	return ret;
}

/* Detach the empty tables of a range onto @freed; the device may still walk them. */
static void pt_prune_level(struct page *table, int level, unsigned long start,
			   unsigned long end, struct list_head *freed)
{
	unsigned long size = 1UL << level_shift(level);
	unsigned long address = start & ~(size - 1);
	u64 *entries = table_of(table);

	if (!level || !page_private(table))
		return;
	for (; address < end; address += size) {
		u64 *entry = &entries[level_index(address, level)];
		u64 value = READ_ONCE(*entry);
		struct page *below;

		if (!(value & DEVMODEL_PTE_VALID) || (value & DEVMODEL_PTE_LEAF))
			continue;
		below = entry_table(value);
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
	unsigned long limit = 1UL << level_shift(DEVMODEL_LEVELS);
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
	pt_invalidate(mirror, start & PAGE_MASK, PAGE_ALIGN(end));
	list_for_each_entry_safe(page, next, &freed, lru) {
		list_del(&page->lru);
		table_free(mirror, page);
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
		pt_invalidate(mirror, walk.first, walk.last);
		walk.visit = visit_settle;
		pt_walk(&walk);
		walk_tell_dirty(&walk, 0, 0);
		if (devmodel_oracle_listens(mirror->dev))
			devmodel_oracle_update(mirror, walk.first, walk.last, pte_mask);
	}
	if (free_tables)
		pt_prune(mirror, start, end);
}

/* Free everything. The device uses the context no longer. */
void devmodel_pt_fini(struct devmodel_mirror *mirror)
{
	if (!mirror->root)
		return;
	devmodel_pt_update(mirror, 0, ULONG_MAX, 0, true);
	table_free(mirror, mirror->root);
	mirror->root = NULL;
}

static struct page *pt_table_below(struct devmodel_mirror *mirror,
				   struct devmodel_pt_stash *stash,
				   struct page *table, unsigned long address, int level)
{
	u64 *entry = &table_of(table)[level_index(address, level)];
	u64 value = READ_ONCE(*entry);
	struct page *below;

	if (value & DEVMODEL_PTE_LEAF) {
		unsigned long leaf = address & ~((1UL << level_shift(level)) - 1);

		/* Small pages where a huge one was: the old leaf goes first. */
		devmodel_pt_update(mirror, leaf, leaf + PAGE_SIZE, 0, false);
		value = READ_ONCE(*entry);
	}
	if (value & DEVMODEL_PTE_VALID)
		return entry_table(value);
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

static void pt_set(struct devmodel_mirror *mirror, struct page *table, u64 *entry,
		   unsigned long address, u64 value)
{
	u64 old = READ_ONCE(*entry);
	u64 frame = DEVMODEL_PTE_ADDRESS | DEVMODEL_PTE_APERTURE;

	if (!(old & DEVMODEL_PTE_VALID)) {
		WRITE_ONCE(*entry, value);
		set_page_private(table, page_private(table) + 1);
		return;
	}
	if (!((old ^ value) & frame)) {
		/* More rights only; fewer come through an update. */
		entry_set_low(entry, old | value);
		return;
	}
	/* The kernel tells of every change first, so there is none to meet here. */
	WARN_ONCE(1, "devmodel: %#lx is mapped to another frame\n", address);
	devmodel_pt_update(mirror, address, address + PAGE_SIZE, 0, false);
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

	if (range->end - range->start != LEAF_SIZE || !IS_ALIGNED(range->start, LEAF_SIZE) ||
	    hmm_pfn_to_map_order(first) < DEVMODEL_LEVEL_BITS)
		return false;
	for (i = 1; i < ENTRIES; i++)
		if (range->hmm_pfns[i] != first + i)
			return false;
	return true;
}

/**
 * devmodel_pt_map() - give the device what hmm_range_fault() found
 * @mirror: the mirror, pt_lock held, the notifier's sequence checked
 * @stash: tables to use
 * @range: within one 2 MiB leaf's reach; pages that are not valid are left out
 * @exclusive: nobody else reaches the pages, see devmodel_mirror_exclusive()
 *
 * Return: 0, or -ENOMEM if the stash ran out.
 */
int devmodel_pt_map(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
		    const struct hmm_range *range, bool exclusive)
{
	struct page *table = mirror->root;
	unsigned long address = range->start;
	int level;
	u64 *entry;

	for (level = DEVMODEL_LEVELS - 1; level > 1; level--) {
		table = pt_table_below(mirror, stash, table, address, level);
		if (!table)
			return -ENOMEM;
	}
	entry = &table_of(table)[level_index(address, 1)];
	if (pt_is_huge(mirror, range) &&
	    (!READ_ONCE(*entry) || (READ_ONCE(*entry) & DEVMODEL_PTE_LEAF))) {
		pt_tell(mirror, range, exclusive);
		pt_set(mirror, table, entry, address,
		       pt_entry(mirror, range->hmm_pfns[0], exclusive) |
		       DEVMODEL_PTE_LEAF);
		return 0;
	}
	table = pt_table_below(mirror, stash, table, address, 1);
	if (!table)
		return -ENOMEM;
	pt_tell(mirror, range, exclusive);
	for (; address < range->end; address += PAGE_SIZE) {
		unsigned long pfn = range->hmm_pfns[(address - range->start) >> PAGE_SHIFT];

		if (pfn & HMM_PFN_VALID)
			pt_set(mirror, table, &table_of(table)[level_index(address, 0)],
			       address, pt_entry(mirror, pfn, exclusive));
	}
	return 0;
}
