// SPDX-License-Identifier: GPL-2.0
/*
 * Device-exclusive access: pages that this device alone reaches, so that what
 * it reads, changes and writes back is one step to everybody.
 *
 * The kernel replaces the CPUs' entries by device-exclusive ones. A touch by a
 * CPU (or another device) takes the right back: it takes the page's lock, then
 * raises an EXCLUSIVE event, and only then reaches the page. Private pages of
 * the device are its own by nature, and leave it by way of their lock, too.
 */
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/migrate.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "claim.h"
#include "compat.h"
#include "control.h"
#include "device.h"
#include "event.h"
#include "hbm.h"
#include "migrate.h"
#include "mirror.h"
#include "pagetable.h"
#include "range.h"
#include "state.h"
#include "walk.h"

/* How often a page that is busy is asked for at least, and a huge one split at most. */
#define EXCLUSIVE_TRIES		100
#define EXCLUSIVE_SPLITS	10
/* How long the others are kept away for the device to come to its page. */
#define EXCLUSIVE_HOLD		msecs_to_jiffies(20)

/*
 * Split the huge page at @address, if one entry maps it, by a migration that
 * takes no page: migrate_vma_setup() splits what it looks at, and is asked for
 * private pages of nobody.
 */
static void split_huge(struct vm_area_struct *vma, unsigned long address)
{
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.vma = vma,
		.src = &src,
		.dst = &dst,
		.start = address,
		.end = address + PAGE_SIZE,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
	};

	if (!migrate_vma_setup(&args))
		migrate_vma_finalize(&args);
}

static struct page *lock_private(struct page *page)
{
	struct folio *folio = page_folio(page);

	/* It may have gone meanwhile; the notifier's sequence tells. */
	if (!folio_try_get(folio))
		return ERR_PTR(-EBUSY);
	if (folio_trylock(folio)) {
		if (page_folio(page) == folio)
			return page;
		folio_unlock(folio);
	}
	folio_put(folio);
	return ERR_PTR(-EBUSY);
}

/*
 * Keep everybody else away from @page, which hmm_range_fault() has just found
 * writable at @address. mmap_lock is held.
 *
 * Return: the page, locked and with a reference, or an ERR_PTR: -EFAULT if it
 * cannot be, -EBUSY to look again, and what bring_closer() knows what to do about.
 */
static struct page *exclude(struct devmodel_mirror *mirror, unsigned long address,
			    struct page *page)
{
	struct folio *folio = page_folio(page);

	if (is_device_private_page(page))
		return lock_private(page);
	/* CPUs reach coherent HBM, so it is in system memory that they can be kept away. */
	if (is_device_coherent_page(page))
		return ERR_PTR(devmodel_is_hbm(mirror->dev, page) ? -EREMOTE : -EXDEV);
	/* The kernel knows how to for anonymous memory alone. */
	if (!folio_test_anon(folio) || folio_test_hugetlb(folio))
		return ERR_PTR(-EFAULT);
	if (devmodel_excludes_small_only() && folio_test_large(folio)) {
		split_huge(vma_lookup(mirror->mm, address), address);
		return ERR_PTR(-EAGAIN);
	}
	return devmodel_exclude_cpu(mirror->mm, address, mirror->dev);
}

/*
 * A page that is locked for the device: whoever wants it waits. fork() does not
 * wait but fails if it meets a page that is exclusive and locked, so it must
 * not come along meanwhile, which is what mmap_lock is held for, too.
 */
static void unclaim(struct devmodel_mirror *mirror, struct page *page)
{
	unlock_page(page);
	put_page(page);
	mmap_read_unlock(mirror->mm);
}

/* The device does not get it after all, so nobody need be kept away. */
static void give_up(struct devmodel_mirror *mirror, unsigned long address, struct page *page)
{
	bool excluded = !is_device_private_page(page);

	unlock_page(page);
	put_page(page);
	if (excluded)
		fixup_user_fault(mirror->mm, address, 0, NULL);
	mmap_read_unlock(mirror->mm);
}

/* One try: fault the page in for writing, exclude it, map it, all under one sequence. */
static struct page *try_claim(struct devmodel_mirror *mirror, unsigned long address,
			      struct devmodel_pt_stash *stash, void *owner)
{
	unsigned long pfn = 0;
	struct hmm_range range = {
		.notifier = &mirror->notifier,
		.start = address,
		.end = address + PAGE_SIZE,
		.hmm_pfns = &pfn,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
		.dev_private_owner = owner,
	};
	struct page *page;
	int ret;

	range.notifier_seq = mmu_interval_read_begin(range.notifier);
	mmap_read_lock(mirror->mm);
	ret = devmodel_range_fault(&range);
	/* A private page shared since a fork is reported as it is. */
	if (!ret && !(pfn & HMM_PFN_WRITE))
		ret = -EMLINK;
	page = ret ? ERR_PTR(ret) : exclude(mirror, address, hmm_pfn_to_page(pfn));
	if (IS_ERR(page)) {
		mmap_read_unlock(mirror->mm);
		/* Nothing holds on to what was looked at: it may have been another's by then. */
		if (PTR_ERR(page) == -EFAULT &&
		    mmu_interval_read_retry(range.notifier, range.notifier_seq))
			return ERR_PTR(-EBUSY);
		return page;
	}

	pfn = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	mutex_lock(&mirror->pt_lock);
	if (mirror->stopped || mirror->ending)
		ret = -EFAULT;
	else if (mmu_interval_read_retry(range.notifier, range.notifier_seq))
		ret = -EBUSY;
	else
		ret = devmodel_mirror_grant(mirror, stash, &range, true, true);
	mutex_unlock(&mirror->pt_lock);
	if (!ret)
		return page;
	give_up(mirror, address, page);
	return ERR_PTR(ret);
}

struct attempt {
	void *owner;
	unsigned int splits;
};

/* What was in the way of a claim, and might be out of it next time. Return: as claim(). */
static int bring_closer(struct devmodel_mirror *mirror, unsigned long address,
			struct attempt *attempt, int obstacle)
{
	int ret;

	switch (obstacle) {
	case -EMLINK:
		/* Not calling private pages ours has the CPU's path break COW. */
		attempt->owner = NULL;
		return -EBUSY;
	case -EAGAIN:
		/* A huge page mapped by many entries already cannot be split here. */
		return attempt->splits++ < EXCLUSIVE_SPLITS ? -EBUSY : -EFAULT;
	case -EREMOTE:
		ret = devmodel_migrate_to_system(mirror, address);
		return ret ? ret : -EBUSY;
	case -EXDEV:
		/* A peer's; only devices with HBM of their own pull pages out of it. */
		if (!mirror->dev->devmem.ready)
			return -EFAULT;
		ret = devmodel_migrate_to_device(mirror, address, address + PAGE_SIZE);
		return ret ? ret : -EBUSY;
	default:
		return obstacle;
	}
}

/*
 * Map one page that only this device reaches. The mm has users.
 *
 * Return: the page, for unclaim(), or an ERR_PTR: -EBUSY if it is not to be had
 * now, anything else if it is not to be had.
 */
static struct page *claim(struct devmodel_mirror *mirror, unsigned long address)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct devmodel_pt_stash stash = {};
	struct attempt attempt = { .owner = mirror->dev };
	unsigned int tries = 0;
	struct page *page;
	int ret;

	do {
		ret = devmodel_pt_stash_fill(&stash);
		page = ret ? ERR_PTR(ret) : try_claim(mirror, address, &stash, attempt.owner);
		ret = PTR_ERR_OR_ZERO(page);
		if (ret) {
			ret = bring_closer(mirror, address, &attempt, ret);
			page = ERR_PTR(ret);
		}
		cond_resched();
		/* A second may be one try on a host that is short of processors. */
	} while (ret == -EBUSY &&
		 (time_before(jiffies, deadline) || tries++ < EXCLUSIVE_TRIES));
	devmodel_pt_stash_free(&stash);
	return page;
}

/**
 * devmodel_mirror_exclusive() - let the device alone reach a range
 * @mirror: the mirror
 * @start: page aligned
 * @end: page aligned
 *
 * Return: 0, or a negative errno: -EBUSY if a page is not to be had now,
 * -EFAULT if it never is: not anonymous, not writable, another device's.
 */
int devmodel_mirror_exclusive(struct devmodel_mirror *mirror, unsigned long start,
			      unsigned long end)
{
	struct page *page;
	int ret = 0;

	if (!mmget_not_zero(mirror->mm))
		return -ESRCH;
	for (; start < end && !ret; start += PAGE_SIZE) {
		page = claim(mirror, start);
		ret = PTR_ERR_OR_ZERO(page);
		if (!ret)
			unclaim(mirror, page);
		if (!ret)
			ret = devmodel_go_on(mirror->dev);
	}
	mmput(mirror->mm);
	return ret;
}

/* Has the device written to the page, or has the page been taken from it? */
static bool used(struct devmodel_mirror *mirror, unsigned long address)
{
	u64 pte;

	mutex_lock(&mirror->pt_lock);
	devmodel_pt_read(mirror, address, address + PAGE_SIZE, &pte);
	mutex_unlock(&mirror->pt_lock);
	return !(pte & DEVMODEL_PTE_ATOMIC) || (pte & DEVMODEL_PTE_DIRTY);
}

/**
 * devmodel_mirror_atomic() - serve a fault for an atomic, replay included
 * @mirror: the mirror
 * @address: of the page
 * @seq: number of the fault record
 *
 * A CPU that is after the same page would take it back before the device has
 * heard of the replay, every time. So the page is kept locked until the device
 * has used it once; only then do the others have their turn.
 *
 * Return: as devmodel_mirror_exclusive().
 */
int devmodel_mirror_atomic(struct devmodel_mirror *mirror, unsigned long address, u64 seq)
{
	struct devmodel_control_command replay = {
		.opcode = DEVMODEL_CONTROL_REPLAY,
		.ctx = mirror->ctx,
		.seq = seq,
	};
	unsigned long deadline;
	struct page *page;
	int ret;

	if (!mmget_not_zero(mirror->mm))
		return -ESRCH;
	page = claim(mirror, address);
	ret = PTR_ERR_OR_ZERO(page);
	if (!ret) {
		devmodel_control_one(mirror->dev, &replay);
		deadline = jiffies + EXCLUSIVE_HOLD;
		while (!used(mirror, address) && time_before(jiffies, deadline))
			usleep_range(20, 50);
		unclaim(mirror, page);
	}
	mmput(mirror->mm);
	return ret;
}
