/* SPDX-License-Identifier: GPL-2.0 */
/* The events of 2015, and what they do to a mirror. */
#ifndef _DEVMODEL_EVENT_H
#define _DEVMODEL_EVENT_H

#include <linux/types.h>

struct devmodel_mirror;
struct devmodel_pt_stash;
struct hmm_range;
struct mmu_notifier_range;

/**
 * struct devmodel_event - one of the events of the 2015 interface
 * @name: its name there
 * @pte_mask: rights that the device keeps
 * @free_tables: the range goes, and its page tables with it
 */
struct devmodel_event {
	const char *name;
	u64 pte_mask;
	bool free_tables;
};

extern const struct devmodel_event devmodel_event_munmap;

const struct devmodel_event *devmodel_event_of(const struct mmu_notifier_range *range);
void devmodel_mirror_update(struct devmodel_mirror *mirror, const struct devmodel_event *event,
			    unsigned long start, unsigned long end);
int devmodel_mirror_grant(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
			  const struct hmm_range *range, bool write, bool exclusive);

#endif /* _DEVMODEL_EVENT_H */
