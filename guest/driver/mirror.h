/* SPDX-License-Identifier: GPL-2.0 */
/* One address space on one device. */
#ifndef _DEVMODEL_MIRROR_H
#define _DEVMODEL_MIRROR_H

#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>

#include "fault.h"
#include "fault_queue.h"

struct devmodel_dev;
struct mm_struct;
struct page;

/**
 * struct devmodel_mirror - one address space on one device
 * @dev: the device
 * @mm: the address space; the structure is kept, its users are not
 * @owner: who made it
 * @ref: held by the file, and by the worker while it serves faults
 * @ctx: context id (PASID)
 * @notifier: covers the whole address space
 * @pt_lock: protects the page table, @generation, @ending, @stopped and @released;
 *	see DOC: Locking
 * @generation: the life of the device that knows this context
 * @root: top page of the device page table
 * @closed: its file is; under dev->mirrors_lock
 * @ending: it is about to be stopped, no page is claimed for the device alone any more
 * @stopped: the device uses this mirror no longer
 * @released: and release() has been
 * @policy_lock: protects @policy and @policy_ranges
 * @policy: advice by address range, index in pages
 * @policy_ranges: how many there are
 * @programs: handle to &struct devmodel_pending, launches not waited for yet
 * @fault_queue: faults that wait for their turn
 * @dmirror_lock: one request of the test interface at a time
 * @span: what that request works on; written before a launch, read by its faults
 */
struct devmodel_mirror {
	struct devmodel_dev *dev;
	struct mm_struct *mm;
	kuid_t owner;
	bool closed;
	struct kref ref;
	u32 ctx;

	struct mmu_interval_notifier notifier;
	struct mutex pt_lock;	/* root and below, generation, ending, stopped, released */
	struct page *root;
	u32 generation;
	bool ending;
	bool stopped;
	bool released;

	spinlock_t policy_lock;	/* policy, policy_ranges */
	struct rb_root_cached policy;
	unsigned int policy_ranges;
	struct xarray programs;
	struct devmodel_fault_queue fault_queue;

	struct mutex dmirror_lock;	/* span, the window */
	struct devmodel_span span;

	atomic64_t faults;
	atomic64_t notifications;
	atomic64_t invalidates;
	atomic64_t page_table_pages;
};

struct devmodel_mirror *devmodel_mirror_new(struct devmodel_dev *dev);
void devmodel_mirror_close(struct devmodel_mirror *mirror);
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx);
struct devmodel_mirror *devmodel_mirror_next(struct devmodel_dev *dev, unsigned long *ctx);
void devmodel_mirror_put(struct devmodel_mirror *mirror);

#endif /* _DEVMODEL_MIRROR_H */
