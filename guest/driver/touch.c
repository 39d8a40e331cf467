// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU touches a private page, and the page comes back.
 *
 * A round trip to the device costs the same for one page as for many, so a
 * thread that touches one page after another gets more of them at a time. One
 * that touches here and there, or plays ping-pong with the device, gets the
 * page that it wants and no other.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "device.h"
#include "loss.h"
#include "migration.h"
#include "state.h"
#include "touch.h"
#include "trace.h"

#define CLUSTER_GROWTH	4
#define CLUSTER_MAX	64
#define HUGE_SIZE	((unsigned long)DEVMODEL_BATCH << PAGE_SHIFT)

/* Threads that meet in a slot cost each other speed and nothing else: no lock. */
static struct devmodel_touches *touches_of(struct devmodel_dev *dev,
					   struct task_struct *task)
{
	return &dev->touches[hash_ptr(task, ilog2(DEVMODEL_TOUCHERS))];
}

/* How many pages to bring for a touch at @address. */
static unsigned int cluster(struct devmodel_touches *touches, unsigned long address)
{
	if (READ_ONCE(touches->next) != address)
		return 1;
	return min_t(unsigned int, READ_ONCE(touches->pages) * CLUSTER_GROWTH, CLUSTER_MAX);
}

static vm_fault_t bring_back(struct migration *batch, struct vm_fault *vmf,
			     unsigned long start, unsigned long end)
{
	if (migration_run_vma(batch, vmf->vma, start, end, vmf->page))
		return devmodel_may_return(batch->from) ? 0 : VM_FAULT_SIGBUS;
	/*
	 * Another thread may have been quicker, or somebody holds on to the
	 * page: the CPU looks again. What happens to the neighbours is no
	 * concern of who touched this one.
	 */
	switch (batch->outcome[0]) {
	case DEVMODEL_OUTCOME_LOST:
		return VM_FAULT_HWPOISON;
	case DEVMODEL_OUTCOME_COPY_FAILED:
		if (devmodel_page_is_lost(vmf->page, 0))
			return VM_FAULT_HWPOISON;
		/* The CPU looks again, and waits for the device. */
		return devmodel_may_return(batch->from) ? 0 : VM_FAULT_SIGBUS;
	case DEVMODEL_OUTCOME_NO_MEMORY:
		return VM_FAULT_OOM;
	default:
		return 0;
	}
}

/**
 * devmodel_migrate_to_ram() - the CPU touched a private page
 * @vmf: the fault; mmap_lock is held
 *
 * Return: 0, VM_FAULT_OOM, VM_FAULT_HWPOISON if its bytes are lost, or VM_FAULT_SIGBUS
 * if the device that has them is.
 */
vm_fault_t devmodel_migrate_to_ram(struct vm_fault *vmf)
{
	struct devmodel_dev *dev = page_pgmap(vmf->page)->owner;
	struct devmodel_touches *touches = touches_of(dev, current);
	unsigned long start, end, pages;
	struct migration *batch;
	vm_fault_t result;

	if (devmodel_touched_huge(vmf)) {
		start = vmf->address & ~(HUGE_SIZE - 1);
		pages = DEVMODEL_BATCH;
	} else {
		start = vmf->address & PAGE_MASK;
		pages = cluster(touches, start);
	}
	/* The kernel may have locked the page for us, which is in the way of its loss. */
	while (!devmodel_page_is_lost(vmf->page, 0) && devmodel_is_away(dev))
		continue;
	if (devmodel_is_lost(dev) && fatal_signal_pending(current))
		return 0;
	/* What begins at the next boundary may be a huge page, which is not to be split. */
	end = min3(start + (pages << PAGE_SHIFT), vmf->vma->vm_end,
		   ALIGN(start + 1, HUGE_SIZE));
	batch = migration_new((end - start) >> PAGE_SHIFT);
	if (!batch)
		return VM_FAULT_OOM;
	migration_aim(batch, dev, NULL);
	result = bring_back(batch, vmf, start, end);
	migration_free(batch);
	WRITE_ONCE(touches->pages, pages);
	WRITE_ONCE(touches->next, end);
	atomic64_inc(&dev->stats.cpu_faults);
	trace_devmodel_cpu_fault(dev->id, start, !result);
	return result;
}
