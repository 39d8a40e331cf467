// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of an address space go to HBM and back: because a program asks, or
 * because the device touches them and the policy says so.
 */
#include <linux/hmm.h>
#include <linux/migrate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "device.h"
#include "evict.h"
#include "exclusive.h"
#include "hbm.h"
#include "migrate.h"
#include "migration.h"
#include "mirror.h"
#include "range.h"
#include "state.h"

/* Which pages a request is about, and where they go. */
enum way {
	HBM_TO_SYSTEM,
	SYSTEM_TO_HBM,
	ANYWHERE_TO_HBM,	/* from the HBM of other devices too */
};

/* How often room is made for one batch: others may be quicker to take it. */
#define EVICT_TRIES	4

/*
 * Can migrate_vma_setup() take this VMA, and hmm_range_fault() say where its
 * pages are? Others keep their pages where they are.
 */
static bool migratable(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_READ) && !(vma->vm_flags & VM_SPECIAL) &&
	       !is_vm_hugetlb_page(vma) && !vma_is_dax(vma);
}

/* What became of each page, from a batch or several of them: the best of it stays. */
static void remember(struct migration *batch, u8 *outcomes, unsigned long count)
{
	unsigned long i;

	for (i = 0; outcomes && i < count; i++)
		if (batch->outcome[i] != DEVMODEL_OUTCOME_NOT_MIGRATABLE)
			outcomes[i] = batch->outcome[i];
}

/*
 * Can pages of this VMA leave system memory? Not where ksmd is at work.
 * migrate_vma_setup() unmaps by address and restores by rmap, which does not
 * find a page that ksmd has mapped and not entered in its tree yet: its
 * migration entry stays for good. And what the tree holds, ksmd goes on
 * reading, where a private page has no bytes for it.
 */
static bool may_leave_system(struct vm_area_struct *vma)
{
	return !(vma->vm_flags & VM_MERGEABLE);
}

/* At most DEVMODEL_BATCH pages of one VMA, on their way to a device. */
struct pull {
	struct migration *batch;
	struct devmodel_dev *to;
	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long end;
	u8 *outcomes;
	unsigned long starved;
};

/* Those that lie in one place. */
static int pull_from(struct pull *pull, struct devmodel_dev *from, struct devmodel_dev *to)
{
	int ret;

	migration_aim(pull->batch, from, to);
	ret = migration_run_vma(pull->batch, pull->vma, pull->start, pull->end, NULL);
	if (ret)
		return ret;
	remember(pull->batch, pull->outcomes, (pull->end - pull->start) >> PAGE_SHIFT);
	pull->starved += pull->batch->starved;
	return 0;
}

/* From a peer's HBM; if there is no way from it to ours, out of it for a beginning. */
static int pull_from_peer(struct devmodel_dev *peer, void *data)
{
	struct pull *pull = data;

	return pull_from(pull, peer, devmodel_reaches_hbm(pull->to, peer) ? pull->to : NULL);
}

/*
 * A range within one batch. Holes and odd VMAs are skipped.
 * Return: 0 or -ENOMEM, -EIO; @starved is how many pages found no frame.
 */
static int migrate_once(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, enum way way, u8 *outcomes,
			unsigned long *starved)
{
	struct devmodel_dev *dev = mirror->dev;
	unsigned long first = start, next;
	struct migration *batch;
	int ret = 0;

	*starved = 0;
	batch = migration_new((end - start) >> PAGE_SHIFT);
	if (!batch)
		return -ENOMEM;
	mmap_read_lock(mirror->mm);
	for (; start < end && !ret; start = next) {
		struct vm_area_struct *vma = find_vma(mirror->mm, start);
		struct pull pull = { .batch = batch, .to = dev, .vma = vma };

		if (!vma || vma->vm_start >= end)
			break;
		start = max(start, vma->vm_start);
		next = min(end, vma->vm_end);
		if (!migratable(vma))
			continue;
		pull.start = start;
		pull.end = next;
		pull.outcomes = outcomes ? outcomes + ((start - first) >> PAGE_SHIFT) : NULL;
		if (way != SYSTEM_TO_HBM)
			devmodel_exclusive_end(mirror, start, next);
		if (way == ANYWHERE_TO_HBM)
			ret = devmodel_peers_visit(dev, pull_from_peer, &pull);
		if (!ret && way == HBM_TO_SYSTEM)
			ret = pull_from(&pull, dev, NULL);
		else if (!ret && may_leave_system(vma))
			ret = pull_from(&pull, NULL, dev);
		*starved += pull.starved;
	}
	mmap_read_unlock(mirror->mm);
	migration_free(batch);
	return ret;
}

/*
 * A range within one batch, with room made where there is none. Between the
 * tries nothing is held, so that eviction may wait for whom it likes.
 */
static int migrate_batch(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end, enum way way, u8 *outcomes)
{
	unsigned int tries;

	for (tries = 0;; tries++) {
		unsigned long starved;
		int ret = migrate_once(mirror, start, end, way, outcomes, &starved);

		if (ret || !starved || tries == EVICT_TRIES)
			return ret;
		starved = min_t(unsigned long, starved, DEVMODEL_BATCH);
		if (!devmodel_evict(mirror->dev, starved))
			return 0;
	}
}

static unsigned long batch_end(unsigned long start, unsigned long end)
{
	return min(end, ALIGN(start + 1, (unsigned long)DEVMODEL_BATCH << PAGE_SHIFT));
}

/**
 * devmodel_migrate_to_device() - bring a range to HBM, as far as it will go
 * @mirror: the mirror; its mm has users
 * @start: page aligned
 * @end: page aligned
 *
 * From system memory and from the HBM of other devices.
 *
 * Return: 0, also when pages stayed, or -ENOMEM, -EIO.
 */
int devmodel_migrate_to_device(struct devmodel_mirror *mirror, unsigned long start,
			       unsigned long end)
{
	unsigned long next;
	int ret = 0;

	for (; start < end && !ret; start = next) {
		next = batch_end(start, end);
		ret = migrate_batch(mirror, start, next, ANYWHERE_TO_HBM, NULL);
	}
	return ret;
}

/**
 * devmodel_migrate_to_system() - bring a page in HBM back to system memory
 * @mirror: the mirror; its mm has users
 * @address: page aligned
 *
 * Return: 0, also when it stayed, or -ENOMEM, -EIO.
 */
int devmodel_migrate_to_system(struct devmodel_mirror *mirror, unsigned long address)
{
	return migrate_batch(mirror, address, address + PAGE_SIZE, HBM_TO_SYSTEM, NULL);
}

/* Which pages of a range lie in HBM? One flag a page, from the kernel's page table. */
static int find_in_hbm(struct devmodel_mirror *mirror, unsigned long start,
		       unsigned long end, unsigned long *pfns)
{
	unsigned long i, count = (end - start) >> PAGE_SHIFT;
	int ret;

	ret = devmodel_cpu_pfns(mirror, start, end, pfns);
	if (ret)
		return ret;
	/* A page may move again as we look; what we tell is a moment's truth anyhow. */
	for (i = 0; i < count; i++)
		pfns[i] = (pfns[i] & HMM_PFN_VALID) &&
			  devmodel_is_hbm(mirror->dev, hmm_pfn_to_page(pfns[i]));
	return 0;
}

/* @seen is what the migration said of the page, if it had anything to do with it. */
static u32 outcome(struct devmodel_mirror *mirror, bool to_device, bool before, bool after,
		   u8 seen)
{
	if (seen == DEVMODEL_OUTCOME_MOVED)
		return DEVMODEL_OUTCOME_MOVED;
	if (after == to_device)
		return before == to_device ? DEVMODEL_OUTCOME_ALREADY_THERE :
					     DEVMODEL_OUTCOME_MOVED;
	if (devmodel_is_lost(mirror->dev))
		return DEVMODEL_OUTCOME_COPY_FAILED;
	return seen;
}

/* What one batch of a request needs. */
struct places {
	unsigned long before[DEVMODEL_BATCH];
	unsigned long after[DEVMODEL_BATCH];
	u8 seen[DEVMODEL_BATCH];
};

/* One batch of a request, with what became of each of its pages. */
static int migrate_and_tell(struct devmodel_mirror *mirror,
			    struct devmodel_migrate *request, enum way way,
			    unsigned long start, unsigned long end, struct places *places)
{
	unsigned long i, count = (end - start) >> PAGE_SHIFT;
	bool to_device = way != HBM_TO_SYSTEM;
	u32 __user *outcomes = u64_to_user_ptr(request->outcomes);
	int ret;

	memset(places->seen, DEVMODEL_OUTCOME_NOT_MIGRATABLE, count);
	ret = find_in_hbm(mirror, start, end, places->before);
	if (!ret)
		ret = migrate_batch(mirror, start, end, way, places->seen);
	if (!ret)
		ret = find_in_hbm(mirror, start, end, places->after);
	if (ret)
		return ret;
	for (i = 0; i < count; i++) {
		u32 what = outcome(mirror, to_device, places->before[i], places->after[i],
				   places->seen[i]);
		unsigned long page = ((start - request->address) >> PAGE_SHIFT) + i;

		request->moved += what == DEVMODEL_OUTCOME_MOVED;
		request->already += what == DEVMODEL_OUTCOME_ALREADY_THERE;
		request->failed += what > DEVMODEL_OUTCOME_ALREADY_THERE;
		if (request->outcomes && put_user(what, outcomes + page))
			return -EFAULT;
	}
	return 0;
}

/**
 * devmodel_migrate() - DEVMODEL_IOC_MIGRATE
 * @mirror: the mirror of the calling process
 * @request: a checked range and a target; the counts are filled in
 * @peers: to a device: take pages out of other devices' HBM too
 *
 * Return: 0, also when pages stayed; -EINVAL, -EOPNOTSUPP where the model has
 * no device memory, -EINTR, -ENODEV, -ENOMEM, -EIO.
 */
int devmodel_migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request,
		     bool peers)
{
	unsigned long start = request->address, end = start + request->length, next;
	enum way way = peers ? ANYWHERE_TO_HBM : SYSTEM_TO_HBM;
	struct places *places;
	int ret = 0;

	if (request->flags || request->target > DEVMODEL_TARGET_DEVICE)
		return -EINVAL;
	if (!mirror->dev->devmem.ready)
		return -EOPNOTSUPP;
	if (request->target == DEVMODEL_TARGET_SYSTEM)
		way = HBM_TO_SYSTEM;
	places = kvmalloc_obj(*places, GFP_KERNEL_ACCOUNT);
	if (!places)
		return -ENOMEM;
	request->moved = 0;
	request->already = 0;
	request->failed = 0;
	for (; start < end && !ret; start = next) {
		next = batch_end(start, end);
		ret = devmodel_go_on(mirror->dev);
		/* It may come back; if not, each page is told that it stays. */
		if (!ret)
			devmodel_await(mirror->dev);
		if (!ret)
			ret = migrate_and_tell(mirror, request, way, start, next, places);
	}
	kvfree(places);
	return ret;
}
