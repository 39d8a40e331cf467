// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what the kernel tells, in the words of 2015.
 *
 * The 2015 interface had one update(mirror, event) with
 * new_pte = old_pte & event->pte_mask, called before the change takes effect.
 * That is here, on top of today's interval notifier, in two halves:
 * devmodel_mirror_update() takes rights away, and when it returns the device has
 * stopped using the old translations; devmodel_mirror_grant() gives what a device
 * fault asked for. devmodel_event_of() is where the kernel's words become those of
 * 2015.
 */
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>

#include "compat.h"
#include "device.h"
#include "event.h"
#include "loss.h"
#include "mirror.h"
#include "pagetable.h"
#include "trace.h"
#include "update.h"
#include "walk.h"

#define NO_WRITE	(~(DEVMODEL_PTE_WRITE | DEVMODEL_PTE_ATOMIC))

static const struct devmodel_event EVENT_FORK = { "FORK", NO_WRITE, false };
static const struct devmodel_event EVENT_ISDIRTY = { "ISDIRTY", NO_WRITE, false };
static const struct devmodel_event EVENT_MIGRATE = { "MIGRATE", 0, false };
const struct devmodel_event devmodel_event_munmap = { "MUNMAP", 0, true };
static const struct devmodel_event EVENT_WRITE_PROTECT = { "WRITE_PROTECT", NO_WRITE, false };
static const struct devmodel_event EVENT_EXCLUSIVE = { "EXCLUSIVE", 0, false };

/*
 * The event of 2015 for one of today's; NULL is its NONE: nothing is taken away,
 * so there is nothing to do. What the kernel calls CLEAR is a page that goes
 * while the range stays (reclaim, compaction, KSM, collapse, discarding, COW).
 */
const struct devmodel_event *devmodel_event_of(const struct mmu_notifier_range *range)
{
	vm_flags_t flags;

	switch (range->event) {
	case MMU_NOTIFY_UNMAP:
	case MMU_NOTIFY_RELEASE:
		return &devmodel_event_munmap;
	case MMU_NOTIFY_PROTECTION_VMA:
		flags = devmodel_vm_flags(range);
		if (!(flags & VM_READ))
			return &devmodel_event_munmap;
		/* Writable still, unless it is userfaultfd's pages that are protected. */
		if ((flags & VM_WRITE) && !(flags & VM_UFFD_WP))
			return NULL;
		return &EVENT_WRITE_PROTECT;
	case MMU_NOTIFY_PROTECTION_PAGE:
		/* Of private memory that is fork(), of shared memory write-back. */
		return devmodel_vm_flags(range) & VM_SHARED ? &EVENT_WRITE_PROTECT : &EVENT_FORK;
	case MMU_NOTIFY_SOFT_DIRTY:
		return &EVENT_ISDIRTY;
	case MMU_NOTIFY_EXCLUSIVE:
		return &EVENT_EXCLUSIVE;
	default:
		return &EVENT_MIGRATE;
	}
}

/**
 * devmodel_mirror_update() - take rights away from the device
 * @mirror: the mirror, pt_lock held
 * @event: why
 * @start: first byte
 * @end: after the last byte
 *
 * See devmodel_pt_update(). If mirror->stopped is set afterwards the device has
 * failed the update.
 */
void devmodel_mirror_update(struct devmodel_mirror *mirror, const struct devmodel_event *event,
			    unsigned long start, unsigned long end)
{
	struct devmodel_pt_count before = {}, after = {};

	if (trace_devmodel_update_enabled())
		before = devmodel_pt_count(mirror, start, end);
	devmodel_pt_update(mirror, start, end, event->pte_mask, event->free_tables);
	/* A range that the device does not map is no news to it. */
	if (before.entries) {
		after = devmodel_pt_count(mirror, start, end);
		trace_devmodel_update(mirror->dev->id, mirror->ctx, event->name, start, end,
				      event->pte_mask, &before, &after);
	}
}

/* Has a page in the range no bytes any more? Such a page is on its way out. */
static bool any_lost(const struct hmm_range *range)
{
	unsigned long i, count = (range->end - range->start) >> PAGE_SHIFT;

	for (i = 0; i < count; i++)
		if ((range->hmm_pfns[i] & HMM_PFN_VALID) &&
		    devmodel_page_is_lost(hmm_pfn_to_page(range->hmm_pfns[i]), 0))
			return true;
	return false;
}

/**
 * devmodel_mirror_grant() - answer a device fault: DEVICE_RFAULT, DEVICE_WFAULT
 * @mirror: the mirror, pt_lock held, the notifier's sequence checked
 * @stash: tables to use
 * @range: what the kernel's page table says, see devmodel_pt_map()
 * @write: the device wants to write
 * @exclusive: it alone is to reach the pages
 *
 * Return: 0, -EFAULT if bytes of the range are lost, or -ENOMEM if the stash ran out.
 */
int devmodel_mirror_grant(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
			  const struct hmm_range *range, bool write, bool exclusive)
{
	bool traced = trace_devmodel_update_enabled();
	struct devmodel_pt_count before = {}, after;
	int ret;

	if (any_lost(range))
		return -EFAULT;
	if (traced)
		before = devmodel_pt_count(mirror, range->start, range->end);
	ret = devmodel_pt_map(mirror, stash, range, exclusive);
	if (ret == -EEXIST) {
		devmodel_pt_update(mirror, range->start, range->end, 0, false);
		ret = devmodel_pt_map(mirror, stash, range, exclusive);
	}
	if (traced && !ret) {
		after = devmodel_pt_count(mirror, range->start, range->end);
		trace_devmodel_update(mirror->dev->id, mirror->ctx,
				      write ? "DEVICE_WFAULT" : "DEVICE_RFAULT",
				      range->start, range->end, ~0ULL, &before, &after);
	}
	return ret;
}
