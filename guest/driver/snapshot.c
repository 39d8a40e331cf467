// SPDX-License-Identifier: GPL-2.0
/*
 * A range as the kernel's page table and the device's see it, page by page,
 * taken under one notifier sequence so that the two can be compared.
 */
#include <linux/hmm.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "hbm.h"
#include "mirror.h"
#include "range.h"
#include "snapshot.h"
#include "state.h"
#include "walk.h"

/*
 * The huge zero page has no name that a module may know. Nobody's page, yet
 * mapped: no file's, not anonymous, not a device's.
 */
static bool is_zero(struct page *page)
{
	struct folio *folio = page_folio(page);

	return is_zero_pfn(page_to_pfn(page)) ||
	       (folio_test_large(folio) && !folio_test_anon(folio) && !folio->mapping &&
		!is_zone_device_page(page));
}

static u32 cpu_state(struct devmodel_dev *dev, unsigned long hmm_pfn)
{
	u32 state = DEVMODEL_PAGE_VALID, place = DEVMODEL_PLACE_SYSTEM;
	struct page *page;

	if (!(hmm_pfn & HMM_PFN_VALID))
		return 0;
	page = hmm_pfn_to_page(hmm_pfn);
	if (hmm_pfn & HMM_PFN_WRITE)
		state |= DEVMODEL_PAGE_WRITE;
	if (hmm_pfn_to_map_order(hmm_pfn))
		state |= DEVMODEL_PAGE_HUGE;
	if (devmodel_is_hbm(dev, page))
		place = DEVMODEL_PLACE_HBM;
	else if (is_zone_device_page(page) || devmodel_owner(page))
		place = DEVMODEL_PLACE_OTHER_DEVICE;
	else if (is_zero(page))
		place = DEVMODEL_PLACE_ZERO_PAGE;
	return state | place << DEVMODEL_PLACE_SHIFT;
}

static u32 device_state(u64 pte)
{
	u64 aperture = (pte & DEVMODEL_PTE_APERTURE) >> DEVMODEL_PTE_APERTURE_SHIFT;
	u32 state = DEVMODEL_PAGE_VALID, place = DEVMODEL_PLACE_SYSTEM;

	if (!(pte & DEVMODEL_PTE_VALID))
		return 0;
	if (pte & DEVMODEL_PTE_WRITE)
		state |= DEVMODEL_PAGE_WRITE;
	if (pte & DEVMODEL_PTE_LEAF)
		state |= DEVMODEL_PAGE_HUGE;
	if (pte & DEVMODEL_PTE_ACCESSED)
		state |= DEVMODEL_PAGE_ACCESSED;
	if (pte & DEVMODEL_PTE_DIRTY)
		state |= DEVMODEL_PAGE_DIRTY;
	if (pte & DEVMODEL_PTE_ATOMIC)
		state |= DEVMODEL_PAGE_ATOMIC;
	if (aperture == DEVMODEL_APERTURE_HBM)
		place = DEVMODEL_PLACE_HBM;
	else if (aperture != DEVMODEL_APERTURE_SYSTEM)
		place = DEVMODEL_PLACE_OTHER_DEVICE;
	return state | place << DEVMODEL_PLACE_SHIFT;
}

struct snapshot {
	unsigned long pfns[DEVMODEL_BATCH];
	u64 ptes[DEVMODEL_BATCH];
	u32 cpu[DEVMODEL_BATCH];
	u32 device[DEVMODEL_BATCH];
};

/* Both views at one moment. */
static int snapshot_take(struct devmodel_mirror *mirror, struct snapshot *snap,
			 unsigned long start, unsigned long end)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct hmm_range range = {
		.notifier = &mirror->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = snap->pfns,
		.dev_private_owner = mirror->dev,
	};
	int ret;

	do {
		if (time_after(jiffies, deadline))
			return -EBUSY;
		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		ret = devmodel_mm_fault(mirror, &range);
		if (ret)
			continue;
		mutex_lock(&mirror->pt_lock);
		if (mirror->stopped)
			ret = -ESRCH;
		else if (mmu_interval_read_retry(range.notifier, range.notifier_seq))
			ret = -EBUSY;
		else
			devmodel_pt_read(mirror, start, end, snap->ptes);
		mutex_unlock(&mirror->pt_lock);
	} while (ret == -EBUSY);
	return ret;
}

static int snapshot_batch(struct devmodel_mirror *mirror, struct snapshot *snap,
			  struct devmodel_snapshot *request, unsigned long start,
			  unsigned long end)
{
	unsigned long i, count = (end - start) >> PAGE_SHIFT;
	unsigned long done = (start - request->address) >> PAGE_SHIFT;
	u32 __user *cpu = u64_to_user_ptr(request->cpu);
	u32 __user *device = u64_to_user_ptr(request->device);
	int ret = snapshot_take(mirror, snap, start, end);

	if (ret)
		return ret;
	for (i = 0; i < count; i++) {
		snap->cpu[i] = cpu_state(mirror->dev, snap->pfns[i]);
		snap->device[i] = device_state(snap->ptes[i]);
	}
	if (copy_to_user(cpu + done, snap->cpu, count * sizeof(u32)) ||
	    copy_to_user(device + done, snap->device, count * sizeof(u32)))
		return -EFAULT;
	return 0;
}

/**
 * devmodel_snapshot() - DEVMODEL_IOC_SNAPSHOT
 * @mirror: the mirror of the calling process
 * @request: a checked range and two arrays
 *
 * Return: 0, -EFAULT, -EINTR, -ENODEV, -ENOMEM, -ESRCH, -EBUSY if the range would not hold still.
 */
int devmodel_snapshot(struct devmodel_mirror *mirror, struct devmodel_snapshot *request)
{
	unsigned long start = request->address, end = start + request->length, next;
	struct snapshot *snap = kvmalloc(sizeof(*snap), GFP_KERNEL);
	int ret = 0;

	if (!snap)
		return -ENOMEM;
	for (; start < end && !ret; start = next) {
		next = min(end, ALIGN(start + 1, (unsigned long)DEVMODEL_BATCH << PAGE_SHIFT));
		ret = devmodel_go_on(mirror->dev);
		if (!ret)
			ret = snapshot_batch(mirror, snap, request, start, next);
	}
	kvfree(snap);
	request->page_shift = PAGE_SHIFT;
	return ret;
}
