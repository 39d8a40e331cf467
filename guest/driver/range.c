// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of an address space as the kernel's page table has them, faulted in or
 * not: hmm_range_fault(), beneath all who ask it.
 */
#include <linux/hmm.h>
#include <linux/memremap.h>

#include "device.h"
#include "mirror.h"
#include "range.h"

#define HUGE_MASK	(DEVMODEL_BATCH - 1UL)

/**
 * devmodel_range_fault() - hmm_range_fault(), and the truth about huge pages
 * @range: what to look at, and whether to fault it in as a CPU would; its
 *	notifier's sequence is taken, and mmap_lock is held
 *
 * For a range that begins within a private huge page the kernel tells the
 * page's frames from the first on (7.2, hmm_vma_handle_absent_pmd()). Huge pages
 * lie aligned in memory as they are mapped, so that the right ones are known.
 *
 * Return: as hmm_range_fault().
 */
int devmodel_range_fault(struct hmm_range *range)
{
	unsigned long first = range->start >> PAGE_SHIFT, last = range->end >> PAGE_SHIFT, i;
	unsigned long *pfns = range->hmm_pfns;
	int ret;

	/* Some flags go in as well as out. */
	memset(pfns, 0, (last - first) * sizeof(*pfns));
	ret = hmm_range_fault(range);
	for (i = 0; !ret && i < last - first; i++)
		if ((pfns[i] & HMM_PFN_VALID) &&
		    hmm_pfn_to_map_order(pfns[i]) == DEVMODEL_LEVEL_BITS &&
		    is_device_private_page(hmm_pfn_to_page(pfns[i])))
			pfns[i] = (pfns[i] & ~HUGE_MASK) | ((first + i) & HUGE_MASK);
	return ret;
}

/**
 * devmodel_mm_fault() - devmodel_range_fault() for those who hold no mmap_lock
 * @mirror: the mirror; its mm has users
 * @range: as there
 *
 * Return: as hmm_range_fault().
 */
int devmodel_mm_fault(struct devmodel_mirror *mirror, struct hmm_range *range)
{
	int ret;

	mmap_read_lock(mirror->mm);
	ret = devmodel_range_fault(range);
	mmap_read_unlock(mirror->mm);
	return ret;
}

/**
 * devmodel_cpu_pfns() - what the kernel's page table holds for a range, as it is
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 * @pfns: one HMM pfn per page
 *
 * Nothing is faulted in, and private pages of this device stay where they are.
 *
 * Return: 0, or -EBUSY if the range would not hold still.
 */
int devmodel_cpu_pfns(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, unsigned long *pfns)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct hmm_range range = {
		.notifier = &mirror->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = mirror->dev,
	};
	int ret;

	do {
		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		ret = devmodel_mm_fault(mirror, &range);
	} while (ret == -EBUSY && time_before(jiffies, deadline));
	return ret;
}
