/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a device's page table is laid out and walked; what is shared by those who
 * give it translations (pagetable.c), take them away (update.c) and see which
 * of them the device has used (evict.c).
 */
#ifndef _DEVMODEL_PAGETABLE_H
#define _DEVMODEL_PAGETABLE_H

#include <linux/bitops.h>

#include "devmodel.h"

#define PTE_TAKEN	BIT_ULL(3)
#define ENTRIES		BIT(DEVMODEL_LEVEL_BITS)
#define LEAF_SIZE	BIT(level_shift(1))

static inline unsigned int level_shift(int level)
{
	return PAGE_SHIFT + level * DEVMODEL_LEVEL_BITS;
}

static inline unsigned int level_index(unsigned long address, int level)
{
	return (address >> level_shift(level)) & (ENTRIES - 1);
}

static inline u64 *table_of(struct page *page)
{
	return page_address(page);
}

static inline struct page *entry_table(u64 entry)
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
void table_free(struct devmodel_mirror *mirror, struct page *page);

#endif /* _DEVMODEL_PAGETABLE_H */
