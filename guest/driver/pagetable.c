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
#include "pagetable.h"

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

void table_free(struct devmodel_mirror *mirror, struct page *page)
{
	set_page_private(page, 0);
	devmodel_put_page(mirror->dev, page);
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

static void pt_walk_level(struct pt_walk *walk, struct page *table, int level,
			  unsigned long start, unsigned long end)
{
	unsigned long size = 1UL << level_shift(level);
	unsigned long address = start & ~(size - 1);
	u64 *entries = table_of(table);

	if (!page_private(table))
		return;
	for (; address < end && !walk->done; address += size) {
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

void pt_walk(struct pt_walk *walk)
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
