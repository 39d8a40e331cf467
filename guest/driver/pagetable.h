/* SPDX-License-Identifier: GPL-2.0 */
/* A device's page table: its pages, and how translations are given. */
#ifndef _DEVMODEL_PAGETABLE_H
#define _DEVMODEL_PAGETABLE_H

#include <linux/types.h>

struct hmm_range;
struct devmodel_mirror;
struct page;

/**
 * struct devmodel_pt_stash - tables that one mapping may need
 * @pages: one for each level below the root
 * @count: how many there are
 */
struct devmodel_pt_stash {
	struct page *pages[3];
	unsigned int count;
};

int devmodel_pt_init(struct devmodel_mirror *mirror);
void devmodel_pt_fini(struct devmodel_mirror *mirror);
void devmodel_pt_free(struct devmodel_mirror *mirror, struct page *table);
int devmodel_pt_stash_fill(struct devmodel_pt_stash *stash);
void devmodel_pt_stash_free(struct devmodel_pt_stash *stash);
int devmodel_pt_map(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
		    const struct hmm_range *range, bool exclusive);

#endif /* _DEVMODEL_PAGETABLE_H */
