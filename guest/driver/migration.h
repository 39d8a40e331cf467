/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A batch of pages on its way; what is shared by those who move pages: ranges
 * on request or on a device's touch (migrate.c), eviction (evict.c), a CPU's
 * touch (touch.c).
 */
#ifndef _DEVMODEL_MIGRATION_H
#define _DEVMODEL_MIGRATION_H

#include <linux/migrate.h>

#include "copy.h"
#include "device.h"

/**
 * struct migration - a batch of pages on its way
 * @from: whose HBM they lie in, NULL for system memory
 * @to: whose HBM they go to, NULL for system memory
 * @evicting: they go to make room for others
 * @capacity: pages at most
 * @args: for migrate_vma_*(); not used by eviction, which knows frames only
 * @src: the kernel's word per page
 * @dst: the same of its destination; 0: none (any more)
 * @outcome: enum devmodel_outcome per page, once it ran
 * @copies: what is to be copied
 * @fills: what is to be filled with zeros
 * @copy_page: the page that an entry of @copies is for
 * @fill_page: the page that an entry of @fills is for
 * @starved: pages that found no frame in @to's HBM
 * @order: of the huge page that the batch is, whose entry 0 stands for all; 0: each
 *	page has an entry. A huge page fills a batch, as no batch reaches over the
 *	boundary between two.
 * @unfit: it was a huge page, and found no place for one
 * @lives: of the devices that it is about, when it began
 * @spare: a huge page of system memory that is not used yet
 *
 * The device that gets the pages moves the bytes; towards system memory it is
 * the one that has them.
 */
struct migration {
	struct devmodel_dev *from;
	struct devmodel_dev *to;
	bool evicting;
	unsigned int capacity;
	struct migrate_vma args;
	unsigned long *src;
	unsigned long *dst;
	u8 *outcome;
	struct devmodel_copy_list *copies;
	struct devmodel_copy_list *fills;
	u16 *copy_page;
	u16 *fill_page;
	unsigned long starved;
	unsigned int order;
	bool unfit;
	u32 lives;
	struct page *spare;
};

struct migration *migration_new(unsigned int capacity);
void migration_free(struct migration *batch);
void migration_aim(struct migration *batch, struct devmodel_dev *from,
		   struct devmodel_dev *to);
int migration_run_vma(struct migration *batch, struct vm_area_struct *vma,
		      unsigned long start, unsigned long end, struct page *fault_page);
unsigned long migration_run_frames(struct migration *batch, unsigned long count);

/* The lists are lost with a device that had not given them back. */
static inline bool migration_broken(const struct migration *batch)
{
	return !batch->copies || !batch->fills;
}

#endif /* _DEVMODEL_MIGRATION_H */
