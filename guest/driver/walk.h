/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a device's page table is laid out and walked; what is shared by those who
 * give it translations (pagetable.c), take them away (update.c) and see which
 * of them the device has used (evict.c).
 */
#ifndef _DEVMODEL_WALK_H
#define _DEVMODEL_WALK_H

#include <linux/bitops.h>
#include <linux/mm.h>

#include "devmodel_abi.h"

struct devmodel_mirror;

#define PTE_TAKEN	BIT_ULL(3)
#define PT_ENTRIES	BIT(DEVMODEL_LEVEL_BITS)
#define PT_LEAF_SIZE	BIT(pt_shift(1))

static inline unsigned int pt_shift(int level)
{
	return PAGE_SHIFT + level * DEVMODEL_LEVEL_BITS;
}

static inline unsigned int pt_index(unsigned long address, int level)
{
	return (address >> pt_shift(level)) & (PT_ENTRIES - 1);
}

static inline u64 *pt_entries(struct page *page)
{
	return page_address(page);
}

static inline struct page *pt_below(u64 entry)
{
	return pfn_to_page((entry & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT);
}

/* A store to one half of an entry: the device's byte is in the other. */
static inline void entry_set_low(u64 *entry, u64 value)
{
	WRITE_ONCE(*(u32 *)entry, (u32)value);
}

static inline void entry_clear_device_byte(u64 *entry)
{
	WRITE_ONCE(((u8 *)entry)[DEVMODEL_PTE_DEVICE_BYTE], 0);
}

/* What the device may do in a range: entries in use, pages valid, pages writable. */
struct devmodel_pt_count {
	unsigned long entries;
	unsigned long valid;
	unsigned long writable;
};

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
	bool done;	/* set by @visit: nothing beyond this entry matters */
	struct devmodel_pt_count tally;
	u64 *ptes;
	unsigned long *young;
};

void pt_walk(struct pt_walk *walk);
struct devmodel_pt_count devmodel_pt_count(struct devmodel_mirror *mirror,
					   unsigned long start, unsigned long end);
void devmodel_pt_read(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, u64 *ptes);
bool devmodel_pt_exclusive(struct devmodel_mirror *mirror, unsigned long *start,
			   unsigned long end);

#endif /* _DEVMODEL_WALK_H */
