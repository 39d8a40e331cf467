// SPDX-License-Identifier: GPL-2.0
/*
 * What one replayable fault asks for: pages brought to the device where advice
 * says so, faulted in, and mapped.
 */
#include <linux/hmm.h>
#include <linux/sched/mm.h>

#include "claim.h"
#include "compat.h"
#include "device.h"
#include "event.h"
#include "fault.h"
#include "hbm.h"
#include "migrate.h"
#include "mirror.h"
#include "pagetable.h"
#include "policy.h"
#include "range.h"
#include "state.h"
#include "trace.h"

#define HUGE_SIZE	((unsigned long)DEVMODEL_BATCH << PAGE_SHIFT)

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

/*
 * What the CPU reaches through one entry, the device may too: ask for all of
 * the huge page that the range begins in. Return: is there more to ask for?
 */
static bool widen(struct hmm_range *range)
{
	if (range->end - range->start == HUGE_SIZE ||
	    hmm_pfn_to_map_order(range->hmm_pfns[0]) < DEVMODEL_LEVEL_BITS)
		return false;
	range->start &= ~(HUGE_SIZE - 1);
	range->end = range->start + HUGE_SIZE;
	return true;
}

static bool suffices(unsigned long pfn, bool write)
{
	return (pfn & HMM_PFN_VALID) && (!write || (pfn & HMM_PFN_WRITE));
}

/*
 * Fault a range in, and leave alone what is there. hmm_range_fault() has all
 * pages faulted in from the first on that is not, as by a CPU, whose touch of a
 * private page of ours would bring it back to system memory. So it is asked for
 * the stretches that lack something.
 */
static int fault_in(struct devmodel_mirror *mirror, struct hmm_range *range, bool write)
{
	unsigned long count = (range->end - range->start) >> PAGE_SHIFT, i, next;
	struct hmm_range part = *range;
	int ret;

	if (count == 1 || mirror->dev->model != DEVMODEL_MODEL_PRIVATE)
		return devmodel_mm_fault(mirror, range);
	part.default_flags = 0;
	part.dev_private_owner = mirror->dev;
	ret = devmodel_mm_fault(mirror, &part);
	part.default_flags = range->default_flags;
	part.dev_private_owner = range->dev_private_owner;
	for (i = 0; i < count && !ret; i = next) {
		bool enough = suffices(range->hmm_pfns[i], write);

		for (next = i + 1; next < count; next++)
			if (suffices(range->hmm_pfns[next], write) != enough)
				break;
		if (enough)
			continue;
		part.start = range->start + (i << PAGE_SHIFT);
		part.end = range->start + (next << PAGE_SHIFT);
		part.hmm_pfns = range->hmm_pfns + i;
		ret = devmodel_mm_fault(mirror, &part);
	}
	return ret;
}

/* The canonical loop: begin, fault, lock, retry or map. @pfns has room for a batch. */
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
	bool may_widen = true;
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
		ret = fault_in(mirror, &range, write);
		if (ret == -EBUSY)
			continue;
		if (ret && (range.start != start || range.end != end)) {
			/* No huge page any more, and not all of it is to be had. */
			range.start = start;
			range.end = end;
			ret = -EBUSY;
			continue;
		}
		if (ret)
			break;
		if (may_widen && widen(&range)) {
			may_widen = false;
			ret = -EBUSY;
			continue;
		}
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
			/* Or it has gone since, and what was looked at is another's. */
			ret = mmu_interval_read_retry(range.notifier, range.notifier_seq) ?
				-EBUSY : -EFAULT;
			continue;
		}
		mutex_lock(&mirror->pt_lock);
		if (mirror->stopped)
			ret = -EFAULT;
		else if (mmu_interval_read_retry(range.notifier, range.notifier_seq))
			ret = -EBUSY;
		else
			ret = devmodel_mirror_grant(mirror, &stash, &range, write, false);
		mutex_unlock(&mirror->pt_lock);
	} while (ret == -EBUSY);

	devmodel_pt_stash_free(&stash);
	return ret;
}

/*
 * A huge page that can go whole is not taken apart for a touch of a part of it:
 * if the range, which is within one's reach, lies in one, it becomes all of it.
 */
static void whole_page(struct devmodel_mirror *mirror, unsigned long *start,
		       unsigned long *end)
{
	unsigned long first = *start & ~(HUGE_SIZE - 1), pfn, policy_end;
	struct hmm_range range = {
		.notifier = &mirror->notifier,
		.start = *start,
		.end = *start + PAGE_SIZE,
		.hmm_pfns = &pfn,
		.dev_private_owner = mirror->dev,
	};

	if (!MIGRATE_VMA_SELECT_COMPOUND || *end - *start == HUGE_SIZE)
		return;
	range.notifier_seq = mmu_interval_read_begin(range.notifier);
	/* A guess is enough. */
	if (devmodel_mm_fault(mirror, &range) || !(pfn & HMM_PFN_VALID) ||
	    hmm_pfn_to_map_order(pfn) < DEVMODEL_LEVEL_BITS ||
	    devmodel_is_hbm(mirror->dev, hmm_pfn_to_page(pfn)))
		return;
	if (devmodel_policy_get(mirror, first, &policy_end) == DEVMODEL_POLICY_ON_TOUCH &&
	    policy_end >= first + HUGE_SIZE) {
		*start = first;
		*end = first + HUGE_SIZE;
	}
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
		unsigned long from = start, to;

		if (READ_ONCE(mirror->stopped) || devmodel_go_on(mirror->dev))
			return;
		next = min3(next, end, ALIGN(start + 1, HUGE_SIZE));
		to = next;
		if (policy != DEVMODEL_POLICY_ON_TOUCH)
			continue;
		whole_page(mirror, &from, &to);
		devmodel_migrate_to_device(mirror, from, to);
	}
}

/**
 * mirror_fault() - give the device access to a range
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
static int mirror_fault(struct devmodel_mirror *mirror, unsigned long start,
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

static int serve_atomic(struct devmodel_mirror *mirror, unsigned long address, u64 seq)
{
	/* Private pages are the device's alone; coherent ones are not. */
	if (mirror->dev->model == DEVMODEL_MODEL_PRIVATE && mmget_not_zero(mirror->mm)) {
		migrate_on_touch(mirror, address, address + PAGE_SIZE);
		mmput(mirror->mm);
	}
	return devmodel_mirror_atomic(mirror, address, seq);
}

/**
 * devmodel_fault_serve() - do what a fault record asks for
 * @mirror: whose it is
 * @fault: what the device wrote, not to be trusted
 *
 * Takes as long as the memory takes to come. An atomic is replayed, too.
 *
 * Return: 0 or a negative errno; -EBUSY: the replay will fault again.
 */
int devmodel_fault_serve(struct devmodel_mirror *mirror,
			 const struct devmodel_fault_record *fault)
{
	unsigned long start = fault->va & PAGE_MASK;
	unsigned long npages = min_t(u32, fault->npages, 16 * DEVMODEL_BATCH);
	unsigned long end = start + (npages << PAGE_SHIFT);
	int ret;

	/* The device may only ask for what a program may have. */
	if (!npages || start >= TASK_SIZE_MAX || end > TASK_SIZE_MAX)
		return -EFAULT;
	atomic64_inc(&mirror->faults);
	if (fault->access == DEVMODEL_ACCESS_POISON) {
		/* Who hears of the program's end finds the page gone, unless it is held on to. */
		flush_delayed_work(&mirror->dev->devmem.lost_work);
		ret = -EHWPOISON;
	} else if (fault->access == DEVMODEL_ACCESS_ATOMIC) {
		ret = serve_atomic(mirror, start, fault->seq);
	} else {
		end = span_fault(mirror, start, end);
		ret = mirror_fault(mirror, start, end,
				   fault->access == DEVMODEL_ACCESS_WRITE);
	}
	if (ret)
		WRITE_ONCE(mirror->span.error, ret);
	trace_devmodel_fault(mirror->dev->id, fault, ret);
	return ret;
}
