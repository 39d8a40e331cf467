// SPDX-License-Identifier: GPL-2.0
/*
 * Replayable faults: the device suspends an access, puts a record into the
 * fault buffer and goes on with something else. One thread a device takes the
 * records in batches, has the pages mapped, and has all of the batch replayed
 * with one command.
 */
#include <linux/kthread.h>
#include <linux/sched/mm.h>

#include "devmodel.h"
#include "trace.h"

/* Records served before their replay. */
#define FAULT_BATCH	64
/* How often a page that is busy is asked for at least. */
#define EXCLUSIVE_TRIES	100

/* Fault a range in as the CPU would. The caller took the notifier's sequence. */
static int fault_range(struct devmodel_mirror *mirror, struct hmm_range *range)
{
	int ret;

	mmap_read_lock(mirror->mm);
	ret = hmm_range_fault(range);
	mmap_read_unlock(mirror->mm);
	return ret;
}

static bool all_writable(const struct hmm_range *range)
{
	unsigned long i, count = (range->end - range->start) >> PAGE_SHIFT;

	for (i = 0; i < count; i++)
		if (!(range->hmm_pfns[i] & HMM_PFN_WRITE))
			return false;
	return true;
}

static bool all_reachable(struct devmodel_mirror *mirror, const struct hmm_range *range)
{
	unsigned long i, count = (range->end - range->start) >> PAGE_SHIFT;

	for (i = 0; i < count; i++)
		if (!devmodel_reaches(mirror->dev, hmm_pfn_to_page(range->hmm_pfns[i])))
			return false;
	return true;
}

/* The canonical loop: begin, fault, lock, retry or map. */
static int mirror_map(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, bool write, unsigned long *pfns)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct devmodel_pt_stash stash = {};
	struct hmm_range range = {
		.notifier = &mirror->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = mirror->dev,
	};
	int ret;

	do {
		if (time_after(jiffies, deadline)) {
			ret = -EBUSY;
			break;
		}
		ret = devmodel_pt_stash_fill(&stash);
		if (ret)
			break;
		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		ret = fault_range(mirror, &range);
		if (ret == -EBUSY)
			continue;
		if (ret)
			break;
		if (write && !all_writable(&range)) {
			/*
			 * Our own private page, shared since a fork:
			 * hmm_range_fault() reports such pages as they are.
			 * Not calling them ours has the CPU's path break COW.
			 */
			range.dev_private_owner = NULL;
			ret = -EBUSY;
			continue;
		}
		if (!all_reachable(mirror, &range)) {
			ret = -EFAULT;
			break;
		}
		mutex_lock(&mirror->pt_lock);
		if (mirror->stopped)
			ret = -EFAULT;
		else if (mmu_interval_read_retry(range.notifier, range.notifier_seq))
			ret = -EBUSY;
		else
			ret = devmodel_pt_map(mirror, &stash, &range, false);
		mutex_unlock(&mirror->pt_lock);
	} while (ret == -EBUSY);

	devmodel_pt_stash_free(&stash);
	return ret;
}

/* Where the policy says so, bring pages to the device before mapping them. */
static void migrate_on_touch(struct devmodel_mirror *mirror, unsigned long start,
			     unsigned long end)
{
	unsigned long next;

	if (!mirror->dev->devmem.ready)
		return;
	for (; start < end; start = next) {
		enum devmodel_policy policy = devmodel_policy_get(mirror, start, &next);

		next = min(next, end);
		if (policy == DEVMODEL_POLICY_ON_TOUCH)
			devmodel_migrate_to_device(mirror, start, next);
	}
}

/* Map one page that only this device reaches while it is mapped so. */
static int map_exclusive(struct devmodel_mirror *mirror, unsigned long address,
			 struct devmodel_pt_stash *stash)
{
	struct hmm_range range = { .start = address, .end = address + PAGE_SIZE };
	struct vm_area_struct *vma;
	unsigned long pfn;
	struct page *page;
	int ret;

	mmap_read_lock(mirror->mm);
	vma = vma_lookup(mirror->mm, address);
	/* The kernel can keep CPUs away from anonymous memory alone. */
	if (!vma || (vma->vm_flags & VM_SHARED))
		page = ERR_PTR(-EFAULT);
	else
		page = devmodel_exclude_cpu(mirror->mm, address, mirror->dev);
	if (IS_ERR(page)) {
		mmap_read_unlock(mirror->mm);
		return PTR_ERR(page);
	}
	pfn = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	range.hmm_pfns = &pfn;
	/*
	 * No sequence to check: whoever takes the page from us needs its lock
	 * first, and unmapping it needs mmap_lock.
	 */
	mutex_lock(&mirror->pt_lock);
	if (mirror->stopped || !all_reachable(mirror, &range))
		ret = -EFAULT;
	else
		ret = devmodel_pt_map(mirror, stash, &range, true);
	mutex_unlock(&mirror->pt_lock);
	mmap_read_unlock(mirror->mm);
	unlock_page(page);
	put_page(page);
	return ret;
}

/**
 * devmodel_mirror_exclusive() - let the device alone reach a range
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 *
 * A touch by a CPU takes the right back. Private pages are the device's alone
 * anyway; only anonymous memory can be made so.
 *
 * Return: 0, or a negative errno: -EBUSY if a page is not to be had now.
 */
int devmodel_mirror_exclusive(struct devmodel_mirror *mirror, unsigned long start,
			      unsigned long end)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct devmodel_pt_stash stash = {};
	unsigned int tries = 0;
	int ret = 0;

	if (!mmget_not_zero(mirror->mm))
		return -ESRCH;
	while (start < end) {
		ret = devmodel_pt_stash_fill(&stash);
		if (!ret)
			ret = map_exclusive(mirror, start, &stash);
		/*
		 * Somebody holds the page's lock, or (before 6.15) it is a part
		 * of a huge page, which only ever says so. A second may be one
		 * try on a host that is short of processors.
		 */
		if (ret == -EBUSY &&
		    (time_before(jiffies, deadline) || tries < EXCLUSIVE_TRIES)) {
			tries++;
			cond_resched();
			continue;
		}
		if (ret)
			break;
		start += PAGE_SIZE;
	}
	devmodel_pt_stash_free(&stash);
	mmput(mirror->mm);
	return ret;
}

/**
 * devmodel_mirror_fault() - give the device access to a range
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 * @write: the device wants to write
 *
 * If not all of the range can be given, as much of its beginning as can be is:
 * the replay then faults on the rest alone, and the program is told the
 * address that is really wrong.
 *
 * Return: 0 if at least the first page was mapped, else a negative errno.
 */
int devmodel_mirror_fault(struct devmodel_mirror *mirror, unsigned long start,
			  unsigned long end, bool write)
{
	unsigned long *pfns, next, first = start;
	int ret = 0;

	if (!mmget_not_zero(mirror->mm))
		return -ESRCH;
	pfns = kvmalloc_array(DEVMODEL_BATCH, sizeof(*pfns), GFP_KERNEL);
	if (!pfns) {
		mmput(mirror->mm);
		return -ENOMEM;
	}
	migrate_on_touch(mirror, start, end);
	for (; start < end; start = next) {
		next = min(end, ALIGN(start + 1, (unsigned long)DEVMODEL_BATCH << PAGE_SHIFT));
		ret = mirror_map(mirror, start, next, write, pfns);
		if (ret == -EFAULT || ret == -EPERM) {
			while (start < next) {
				ret = mirror_map(mirror, start, start + PAGE_SIZE, write, pfns);
				if (ret)
					break;
				start += PAGE_SIZE;
			}
		}
		if (ret)
			break;
	}
	kvfree(pfns);
	mmput(mirror->mm);
	return start > first ? 0 : ret;
}

/**
 * devmodel_span_begin() - let faults in a range bring in all that is left of it
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 *
 * And count them, and keep the reason of one that fails.
 */
void devmodel_span_begin(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end)
{
	mirror->span.faults = 0;
	mirror->span.error = 0;
	mirror->span.start = start;
	/* The fault thread believes the span from here on. */
	smp_store_release(&mirror->span.end, end);
}

/* Faults go back to what the device asks for. Return: how many there were. */
unsigned long devmodel_span_end(struct devmodel_mirror *mirror)
{
	WRITE_ONCE(mirror->span.end, 0);
	return READ_ONCE(mirror->span.faults);
}

static unsigned long span_fault(struct devmodel_mirror *mirror, unsigned long start,
				unsigned long end)
{
	/* Pairs with devmodel_span_begin(). */
	unsigned long last = smp_load_acquire(&mirror->span.end);

	if (start < mirror->span.start || start >= last)
		return end;
	mirror->span.faults++;
	return max(end, last);
}

static int serve(struct devmodel_dev *dev, const struct devmodel_fault_record *fault)
{
	unsigned long start = fault->va & PAGE_MASK;
	unsigned long npages = min_t(u32, fault->npages, 16 * DEVMODEL_BATCH);
	unsigned long end = start + (npages << PAGE_SHIFT);
	struct devmodel_mirror *mirror;
	int ret;

	/* The device may only ask for what a program may have. */
	if (!npages || start >= TASK_SIZE_MAX || end > TASK_SIZE_MAX)
		return -EFAULT;
	mirror = devmodel_mirror_get(dev, fault->ctx);
	if (!mirror)
		return -ESRCH;
	atomic64_inc(&mirror->faults);
	end = span_fault(mirror, start, end);
	ret = devmodel_mirror_fault(mirror, start, end,
				    fault->access == DEVMODEL_ACCESS_WRITE);
	if (ret)
		WRITE_ONCE(mirror->span.error, ret);
	trace_devmodel_fault(dev->id, fault, ret);
	devmodel_mirror_put(mirror);
	return ret;
}

static void serve_batch(struct devmodel_dev *dev,
			struct devmodel_control_command *commands)
{
	struct devmodel_fault_record fault;
	unsigned int count = 0, served = 0;
	u64 last = 0;
	int ret;

	while (served < FAULT_BATCH &&
	       devmodel_ring_consume(dev, &dev->fault_ring, &fault)) {
		served++;
		last = fault.seq;
		ret = serve(dev, &fault);
		/*
		 * A range that would not hold still (on a host that is short
		 * of processors a second is soon over) is no error of the
		 * program's: its replay faults again.
		 */
		if (!ret || ret == -EBUSY)
			continue;
		atomic64_inc(&dev->stats.device_faults_failed);
		commands[count++] = (struct devmodel_control_command) {
			.opcode = DEVMODEL_CONTROL_CANCEL,
			.seq = fault.seq,
		};
	}
	if (!served)
		return;
	atomic64_add(served, &dev->stats.device_faults);
	atomic64_inc(&dev->stats.device_fault_batches);
	commands[count++] = (struct devmodel_control_command) {
		.opcode = DEVMODEL_CONTROL_REPLAY,
		.seq = last,
	};
	/* Records of a program that has ended meanwhile mean nothing to the device. */
	devmodel_control(dev, commands, count);
}

/**
 * devmodel_fault_thread() - serve the fault buffer until told to stop
 * @data: the device
 *
 * Return: 0.
 */
int devmodel_fault_thread(void *data)
{
	struct devmodel_dev *dev = data;
	struct devmodel_control_command *commands;

	commands = kvmalloc_array(FAULT_BATCH + 1, sizeof(*commands), GFP_KERNEL);
	if (!commands)
		devmodel_lost(dev, "no memory for its fault thread");
	while (!kthread_should_stop()) {
		if (commands && !devmodel_is_lost(dev))
			serve_batch(dev, commands);
		devmodel_ring_arm(&dev->fault_ring);
		/* An interrupt can be lost: look again after a while. */
		wait_event_interruptible_timeout(dev->fault_wait,
						 kthread_should_stop() ||
						 (!devmodel_is_lost(dev) &&
						  devmodel_ring_pending(dev, &dev->fault_ring)),
						 DEVMODEL_LOOK_AGAIN);
	}
	kvfree(commands);
	return 0;
}
