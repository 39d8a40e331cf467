// SPDX-License-Identifier: GPL-2.0
/*
 * Migration by the device's DMA engine, in the three steps of migrate_vma:
 * collect and isolate, allocate and copy, finalise and map. A page can drop
 * out at each of them; what was allocated for it goes back.
 *
 * Our own migrations are not filtered out of the notifier: its callback takes
 * the device's translations away before anything is copied, which is what has
 * to happen, and moves the dirty state to the page that is about to be copied.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "devmodel.h"
#include "trace.h"

/* One batch on its way. @copies and @fills hold for each entry which page it is. */
struct migration {
	struct devmodel_dev *dev;
	bool to_device;
	struct migrate_vma args;
	unsigned long src[DEVMODEL_BATCH];
	unsigned long dst[DEVMODEL_BATCH];
	u16 copy_page[DEVMODEL_BATCH];
	u16 fill_page[DEVMODEL_BATCH];
	struct devmodel_copy_list *copies;
	struct devmodel_copy_list *fills;
};

static void migration_free(struct migration *batch)
{
	if (!batch)
		return;
	devmodel_copy_list_free(batch->copies);
	devmodel_copy_list_free(batch->fills);
	kvfree(batch);
}

static struct migration *migration_new(struct devmodel_dev *dev, bool to_device,
				       unsigned int capacity)
{
	struct migration *batch = kvzalloc(sizeof(*batch), GFP_KERNEL);

	if (!batch)
		return NULL;
	batch->dev = dev;
	batch->to_device = to_device;
	batch->copies = devmodel_copy_list_new(capacity);
	batch->fills = to_device ? devmodel_copy_list_new(capacity) : NULL;
	if (!batch->copies || (to_device && !batch->fills)) {
		migration_free(batch);
		return NULL;
	}
	return batch;
}

static void migration_aim(struct migration *batch, struct vm_area_struct *vma,
			  unsigned long start, unsigned long end)
{
	unsigned long flags = MIGRATE_VMA_SELECT_SYSTEM;

	if (!batch->to_device)
		flags = batch->dev->model == DEVMODEL_MODEL_PRIVATE ?
			MIGRATE_VMA_SELECT_DEVICE_PRIVATE :
			MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	batch->args = (struct migrate_vma) {
		.vma = vma,
		.src = batch->src,
		.dst = batch->dst,
		.start = start,
		.end = end,
		.pgmap_owner = batch->dev,
		.flags = flags,
	};
	batch->copies->count = 0;
	if (batch->fills)
		batch->fills->count = 0;
}

static struct page *destination(struct migration *batch)
{
	struct page *page;

	if (batch->to_device)
		return devmodel_frame_alloc(batch->dev);
	page = alloc_page(GFP_HIGHUSER_MOVABLE);
	if (page)
		lock_page(page);
	return page;
}

static void drop(struct migration *batch, unsigned long i)
{
	struct page *page = migrate_pfn_to_page(batch->dst[i]);

	batch->dst[i] = 0;
	if (page) {
		unlock_page(page);
		put_page(page);
	}
}

/* Step two, first half: a destination and a list entry for each page that can go. */
static void prepare(struct migration *batch, unsigned long count)
{
	struct devmodel_dev *dev = batch->dev;
	unsigned long i;

	for (i = 0; i < count; i++) {
		struct page *from, *to;

		batch->dst[i] = 0;
		if (!(batch->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		from = migrate_pfn_to_page(batch->src[i]);
		if (!from && !batch->to_device)
			continue;
		to = destination(batch);
		if (!to)
			continue;
		batch->dst[i] = migrate_pfn(page_to_pfn(to));
		if (from)
			batch->copy_page[devmodel_copy_add(batch->copies,
							   devmodel_bus_address(dev, from),
							   devmodel_bus_address(dev, to),
							   PAGE_SIZE)] = i;
		else
			/* An empty page is filled at its destination, not copied. */
			batch->fill_page[devmodel_copy_add(batch->fills, 0,
							   devmodel_bus_address(dev, to),
							   PAGE_SIZE)] = i;
	}
}

static void run_list(struct migration *batch, enum devmodel_copy op,
		     struct devmodel_copy_list **list, const u16 *page_of)
{
	unsigned int i, count = (*list)->count;
	int ret = devmodel_copy_run(batch->dev, op, list);

	for (i = 0; i < count; i++)
		if (ret || READ_ONCE((*list)->entry[i].status) != DEVMODEL_STATUS_OK)
			drop(batch, page_of[i]);
}

/* Step two, second half: the device moves the bytes; what it could not, drops out. */
static void transfer(struct migration *batch)
{
	run_list(batch, DEVMODEL_COPY_COPY, &batch->copies, batch->copy_page);
	if (batch->fills)
		run_list(batch, DEVMODEL_COPY_FILL, &batch->fills, batch->fill_page);
}

static unsigned long account(struct migration *batch, unsigned long count,
			     unsigned long start)
{
	struct devmodel_driver_stats *stats = &batch->dev->stats;
	unsigned long i, moved = 0, failed = 0, empty = 0;

	for (i = 0; i < count; i++) {
		if (batch->dst[i] && (batch->src[i] & MIGRATE_PFN_MIGRATE)) {
			moved++;
			empty += !(batch->src[i] & MIGRATE_PFN_VALID);
		} else if (batch->src[i] & (MIGRATE_PFN_MIGRATE | MIGRATE_PFN_VALID)) {
			failed++;
		}
	}
	atomic64_add(moved, batch->to_device ? &stats->pages_to_device :
					       &stats->pages_to_system);
	atomic64_add(empty, &stats->pages_zeroed);
	atomic64_add(failed, &stats->pages_failed);
	trace_devmodel_migrate(batch->dev->id, batch->to_device, start, count, moved, failed);
	return moved;
}

/* All steps, for at most DEVMODEL_BATCH pages of one VMA. mmap_lock is held. */
static int migrate_batch(struct migration *batch)
{
	unsigned long count = (batch->args.end - batch->args.start) >> PAGE_SHIFT;
	int ret = migrate_vma_setup(&batch->args);

	if (ret)
		return ret;
	if (batch->args.cpages) {
		prepare(batch, count);
		transfer(batch);
		migrate_vma_pages(&batch->args);
	}
	account(batch, count, batch->args.start);
	migrate_vma_finalize(&batch->args);
	/* The list is the device's for good: there is nothing to go on with. */
	return batch->copies && (!batch->to_device || batch->fills) ? 0 : -EIO;
}

/*
 * Can migrate_vma_setup() take this VMA, and hmm_range_fault() say where its
 * pages are? Others keep their pages where they are.
 */
static bool migratable(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_READ) && !(vma->vm_flags & VM_SPECIAL) &&
	       !is_vm_hugetlb_page(vma) && !vma_is_dax(vma);
}

/* Call @mirror's mm with mmap_lock held for reading. Holes and odd VMAs are skipped. */
static int migrate_range(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end, bool to_device)
{
	struct migration *batch;
	int ret = 0;

	batch = migration_new(mirror->dev, to_device, DEVMODEL_BATCH);
	if (!batch)
		return -ENOMEM;
	while (start < end && !ret) {
		struct vm_area_struct *vma = find_vma(mirror->mm, start);
		unsigned long next;

		if (!vma || vma->vm_start >= end)
			break;
		start = max(start, vma->vm_start);
		next = min3(end, vma->vm_end,
			    ALIGN(start + 1, (unsigned long)DEVMODEL_BATCH << PAGE_SHIFT));
		if (migratable(vma)) {
			migration_aim(batch, vma, start, next);
			ret = migrate_batch(batch);
		}
		start = next;
	}
	migration_free(batch);
	return ret;
}

/**
 * devmodel_migrate_to_device() - bring a range to HBM, as far as it will go
 * @mirror: the mirror; its mm has users
 * @start: page aligned
 * @end: page aligned
 *
 * Return: 0, also when pages stayed, or -ENOMEM, -EIO.
 */
int devmodel_migrate_to_device(struct devmodel_mirror *mirror, unsigned long start,
			       unsigned long end)
{
	int ret;

	mmap_read_lock(mirror->mm);
	ret = migrate_range(mirror, start, end, true);
	mmap_read_unlock(mirror->mm);
	return ret;
}

/* Which pages of a range lie in HBM? One flag a page, from the kernel's page table. */
static int find_in_hbm(struct devmodel_mirror *mirror, unsigned long start,
		       unsigned long end, unsigned long *pfns)
{
	unsigned long i, count = (end - start) >> PAGE_SHIFT;
	int ret = devmodel_cpu_pfns(mirror, start, end, pfns);

	if (ret)
		return ret;
	/* A page may move again as we look; what we tell is a moment's truth anyhow. */
	for (i = 0; i < count; i++)
		pfns[i] = (pfns[i] & HMM_PFN_VALID) &&
			  devmodel_is_hbm(mirror->dev, hmm_pfn_to_page(pfns[i]));
	return 0;
}

static u32 outcome(struct devmodel_mirror *mirror, bool to_device, bool before, bool after)
{
	if (before == to_device)
		return DEVMODEL_OUTCOME_ALREADY_THERE;
	if (after == to_device)
		return DEVMODEL_OUTCOME_MOVED;
	if (devmodel_is_lost(mirror->dev))
		return DEVMODEL_OUTCOME_COPY_FAILED;
	if (to_device && !READ_ONCE(mirror->dev->devmem.free))
		return DEVMODEL_OUTCOME_NO_MEMORY;
	return DEVMODEL_OUTCOME_NOT_MIGRATABLE;
}

/* One batch of a request, with what became of each of its pages. */
static int migrate_and_tell(struct devmodel_mirror *mirror,
			    struct devmodel_migrate *request, unsigned long start,
			    unsigned long end, unsigned long *before)
{
	unsigned long *after = before + DEVMODEL_BATCH;
	unsigned long i, count = (end - start) >> PAGE_SHIFT;
	bool to_device = request->target == DEVMODEL_TARGET_DEVICE;
	u32 __user *outcomes = u64_to_user_ptr(request->outcomes);
	int ret;

	mmap_read_lock(mirror->mm);
	ret = find_in_hbm(mirror, start, end, before);
	if (!ret)
		ret = migrate_range(mirror, start, end, to_device);
	if (!ret)
		ret = find_in_hbm(mirror, start, end, after);
	mmap_read_unlock(mirror->mm);
	if (ret)
		return ret;
	for (i = 0; i < count; i++) {
		u32 what = outcome(mirror, to_device, before[i], after[i]);
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
 *
 * Return: 0, also when pages stayed; -EINVAL, -EOPNOTSUPP where the model has
 * no device memory, -EINTR, -ENOMEM, -EIO.
 */
int devmodel_migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request)
{
	unsigned long start = request->address, end = start + request->length, next;
	unsigned long *places;
	int ret = 0;

	if (request->flags || request->target > DEVMODEL_TARGET_DEVICE)
		return -EINVAL;
	if (!mirror->dev->devmem.ready)
		return -EOPNOTSUPP;
	places = kvmalloc_array(2 * DEVMODEL_BATCH, sizeof(*places), GFP_KERNEL);
	if (!places)
		return -ENOMEM;
	request->moved = 0;
	request->already = 0;
	request->failed = 0;
	for (; start < end && !ret; start = next) {
		next = min(end, ALIGN(start + 1, (unsigned long)DEVMODEL_BATCH << PAGE_SHIFT));
		ret = fatal_signal_pending(current) ? -EINTR :
			migrate_and_tell(mirror, request, start, next, places);
		cond_resched();
	}
	kvfree(places);
	return ret;
}

/**
 * devmodel_migrate_to_ram() - the CPU touched a private page
 * @vmf: the fault; mmap_lock is held
 *
 * Return: 0, or VM_FAULT_SIGBUS if the page cannot be brought back.
 */
vm_fault_t devmodel_migrate_to_ram(struct vm_fault *vmf)
{
	struct devmodel_dev *dev = page_pgmap(vmf->page)->owner;
	unsigned long start = vmf->address & PAGE_MASK;
	struct migration *batch;
	vm_fault_t result = 0;

	batch = migration_new(dev, false, 1);
	if (!batch)
		return VM_FAULT_OOM;
	migration_aim(batch, vmf->vma, start, start + PAGE_SIZE);
	batch->args.fault_page = vmf->page;
	/*
	 * Another thread may have been quicker, and then there is nothing to
	 * move: the CPU looks again. A page that was here and would not go is
	 * the only failure.
	 */
	if (migrate_batch(batch))
		result = VM_FAULT_SIGBUS;
	else if (batch->args.cpages && !batch->dst[0])
		result = VM_FAULT_SIGBUS;
	atomic64_inc(&dev->stats.cpu_faults);
	trace_devmodel_cpu_fault(dev->id, start, !result);
	migration_free(batch);
	return result;
}

/**
 * devmodel_evict_all() - bring every page in HBM back to system memory
 * @dev: the device; no frame is given out any more
 *
 * Return: 0, or -EBUSY if pages would not go.
 */
int devmodel_evict_all(struct devmodel_dev *dev)
{
	unsigned long first = dev->devmem.pagemap.range.start >> PAGE_SHIFT;
	unsigned long count = range_len(&dev->devmem.pagemap.range) >> PAGE_SHIFT;
	struct migration *batch;
	unsigned long done, step;

	if (!dev->devmem.ready)
		return 0;
	batch = migration_new(dev, false, DEVMODEL_BATCH);
	if (!batch)
		return -ENOMEM;
	for (done = 0; done < count && READ_ONCE(dev->devmem.in_use); done += step) {
		step = min_t(unsigned long, count - done, DEVMODEL_BATCH);
		batch->copies->count = 0;
		if (migrate_device_range(batch->src, first + done, step))
			break;
		prepare(batch, step);
		transfer(batch);
		migrate_device_pages(batch->src, batch->dst, step);
		account(batch, step, 0);
		migrate_device_finalize(batch->src, batch->dst, step);
		if (!batch->copies)
			break;
		cond_resched();
	}
	migration_free(batch);
	return READ_ONCE(dev->devmem.in_use) ? -EBUSY : 0;
}
