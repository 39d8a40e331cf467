// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the device has alone (claim.c) go back to the CPUs.
 */
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>

#include "exclusive.h"
#include "mirror.h"
#include "walk.h"

static bool find_exclusive(struct devmodel_mirror *mirror, unsigned long *start,
			   unsigned long end)
{
	bool found;

	mutex_lock(&mirror->pt_lock);
	found = devmodel_pt_exclusive(mirror, start, end);
	mutex_unlock(&mirror->pt_lock);
	return found;
}

/**
 * devmodel_exclusive_end() - give what the device has alone back to the CPUs
 * @mirror: the mirror; its mmap_lock is held for reading
 * @start: page aligned
 * @end: page aligned
 *
 * The kernel does not migrate pages that are exclusive. They may be so again
 * before the caller comes to it.
 */
void devmodel_exclusive_end(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end)
{
	for (; start < end && find_exclusive(mirror, &start, end); start += PAGE_SIZE)
		fixup_user_fault(mirror->mm, start, 0, NULL);
}

/* Whoever holds it may wait for a device; who ends a mirror does not wait with him. */
static bool lock_soon(struct mm_struct *mm)
{
	unsigned long deadline = jiffies + HZ;

	while (!mmap_read_trylock(mm)) {
		if (time_after(jiffies, deadline))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/**
 * devmodel_exclusive_end_all() - the device is about to lose this mirror
 * @mirror: the mirror
 *
 * Nothing becomes exclusive any more, and what is goes back to the CPUs. Else it
 * would stay so until one touches it, and before 6.15 the kernel can neither
 * move such a page, off a node that goes for example, nor reclaim it.
 */
void devmodel_exclusive_end_all(struct devmodel_mirror *mirror)
{
	unsigned long address = 0, again;
	bool released;

	mutex_lock(&mirror->pt_lock);
	mirror->ending = true;
	released = mirror->released;
	mutex_unlock(&mirror->pt_lock);
	/* An address space that is going takes its entries along. */
	if (released || !mmget_not_zero(mirror->mm))
		return;
	for (; find_exclusive(mirror, &address, ULONG_MAX & PAGE_MASK); address += PAGE_SIZE) {
		if (!lock_soon(mirror->mm))
			break;
		/* Meanwhile something else may be mapped there, that does not come. */
		again = address;
		if (find_exclusive(mirror, &again, address + PAGE_SIZE))
			fixup_user_fault(mirror->mm, address, 0, NULL);
		mmap_read_unlock(mirror->mm);
		cond_resched();
	}
	/* The last user's exit would be ours, and with it waits for who knows whom. */
	mmput_async(mirror->mm);
}
