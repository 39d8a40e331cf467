// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hmm_dmirrorN: the kernel's own HMM test interface (lib/test_hmm_uapi.h),
 * so that tools/testing/selftests/mm/hmm-tests runs on this device unmodified.
 *
 * Where test_hmm copies bytes itself, the device moves them here: a buffer of
 * ours is mapped into the mirror's device page table beyond all user addresses
 * (the window), and the device program "copy" runs between the two, through
 * MMU, TLB and replayable faults like any other.
 */
#include <linux/hmm.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "claim.h"
#include "compute.h"
#include "device.h"
#include "dmirror.h"
#include "evict.h"
#include "fault.h"
#include "hbm.h"
#include "migrate.h"
#include "mirror.h"
#include "pagetable.h"
#include "range.h"
#include "state.h"
#include "update.h"
#include "walk.h"

/* lib/test_hmm_uapi.h is not among a kernel's installed headers. */
struct hmm_dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_DMIRROR_READ		_IOWR('H', 0x00, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_WRITE		_IOWR('H', 0x01, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_DEV	_IOWR('H', 0x02, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_SYS	_IOWR('H', 0x03, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_SNAPSHOT		_IOWR('H', 0x04, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_EXCLUSIVE		_IOWR('H', 0x05, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_CHECK_EXCLUSIVE	_IOWR('H', 0x06, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_RELEASE		_IOWR('H', 0x07, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_FLAGS		_IOWR('H', 0x08, struct hmm_dmirror_cmd)

#define FLAG_FAIL_ALLOC		BIT(0)

#define PROT_NONE_PAGE		0x00
#define PROT_READ_PAGE		0x01
#define PROT_WRITE_PAGE		0x02
#define PROT_PMD		0x04
#define PROT_PUD		0x08
#define PROT_ZERO		0x10
#define PROT_PRIVATE_LOCAL	0x20
#define PROT_PRIVATE_REMOTE	0x30
#define PROT_COHERENT_LOCAL	0x40
#define PROT_COHERENT_REMOTE	0x50
#define PROT_ERROR		0xff

/* Beyond TASK_SIZE_MAX, where no fault is served: the window is mapped or it is a bug. */
#define WINDOW			BIT(47)
#define WINDOW_BYTES		((unsigned long)DEVMODEL_BATCH << PAGE_SHIFT)
#define PROGRAM_TIMEOUT		(60 * HZ)

/**
 * struct window - a buffer of ours that the device sees at WINDOW
 * @pages: its pages
 * @pfns: the same for devmodel_pt_map()
 * @count: how many are mapped
 */
struct window {
	struct page *pages[DEVMODEL_BATCH];
	unsigned long pfns[DEVMODEL_BATCH];
	unsigned long count;
};

static void window_close(struct devmodel_mirror *mirror, struct window *window)
{
	mutex_lock(&mirror->pt_lock);
	devmodel_pt_update(mirror, WINDOW, WINDOW + WINDOW_BYTES, 0, true);
	mutex_unlock(&mirror->pt_lock);
	while (window->count)
		__free_page(window->pages[--window->count]);
	kvfree(window);
}

static struct window *window_open(struct devmodel_mirror *mirror, unsigned long count)
{
	struct window *window = kvzalloc(sizeof(*window), GFP_KERNEL);
	struct devmodel_pt_stash stash = {};
	struct hmm_range range = { .start = WINDOW, .end = WINDOW + (count << PAGE_SHIFT) };
	int ret = -ENOMEM;

	if (!window)
		return ERR_PTR(ret);
	range.hmm_pfns = window->pfns;
	while (window->count < count) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT);

		if (!page)
			goto err;
		window->pages[window->count] = page;
		window->pfns[window->count++] =
			page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	}
	ret = devmodel_pt_stash_fill(&stash);
	if (!ret) {
		mutex_lock(&mirror->pt_lock);
		ret = mirror->stopped ? -ESRCH :
			devmodel_pt_map(mirror, &stash, &range, false);
		mutex_unlock(&mirror->pt_lock);
	}
	devmodel_pt_stash_free(&stash);
	if (!ret)
		return window;
err:
	window_close(mirror, window);
	return ERR_PTR(ret);
}

static int window_to_user(struct window *window, u64 user)
{
	unsigned long i;

	for (i = 0; i < window->count; i++)
		if (copy_to_user(u64_to_user_ptr(user + (i << PAGE_SHIFT)),
				 page_address(window->pages[i]), PAGE_SIZE))
			return -EFAULT;
	return 0;
}

static int window_from_user(struct window *window, u64 user)
{
	unsigned long i;

	for (i = 0; i < window->count; i++)
		if (copy_from_user(page_address(window->pages[i]),
				   u64_to_user_ptr(user + (i << PAGE_SHIFT)), PAGE_SIZE))
			return -EFAULT;
	return 0;
}

/* Have the device copy; what its faults failed with, if they did, is the result. */
static int device_copy(struct devmodel_mirror *mirror, u64 to, u64 from, u64 bytes)
{
	struct devmodel_launch launch = {
		.program = "copy", .args = { to, from, bytes }, .nargs = 3,
	};
	struct devmodel_wait wait = { .timeout_ms = jiffies_to_msecs(PROGRAM_TIMEOUT) };
	int ret = devmodel_launch(mirror, &launch);

	if (ret)
		return ret;
	wait.handle = launch.handle;
	ret = devmodel_wait(mirror, &wait);
	if (ret)
		return ret;
	if (wait.status == DEVMODEL_STATUS_FAULT)
		return mirror->span.error ? mirror->span.error : -EFAULT;
	return wait.status == DEVMODEL_STATUS_OK ? 0 : -EIO;
}

/*
 * Read or write a range piece by piece. The first fault brings in all that is
 * left of the range, as in test_hmm, whose tests count on that.
 */
static int access(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd, bool write)
{
	unsigned long start = cmd->addr, end = start + (cmd->npages << PAGE_SHIFT), next;
	int ret = 0;

	devmodel_span_begin(mirror, start, end);
	for (; start < end && !ret; start = next) {
		unsigned long done = start - cmd->addr;
		struct window *window;

		next = min(end, start + WINDOW_BYTES);
		window = window_open(mirror, (next - start) >> PAGE_SHIFT);
		if (IS_ERR(window)) {
			ret = PTR_ERR(window);
			break;
		}
		if (write)
			ret = window_from_user(window, cmd->ptr + done);
		if (!ret)
			ret = write ? device_copy(mirror, start, WINDOW, next - start) :
				      device_copy(mirror, WINDOW, start, next - start);
		if (!ret && !write)
			ret = window_to_user(window, cmd->ptr + done);
		if (!ret)
			cmd->cpages += (next - start) >> PAGE_SHIFT;
		window_close(mirror, window);
		if (!ret)
			ret = devmodel_go_on(mirror->dev);
	}
	cmd->faults = devmodel_span_end(mirror);
	return ret;
}

/* All of the range must be mapped and readable, or nothing is done. */
static int check_readable(struct devmodel_mirror *mirror, unsigned long start,
			  unsigned long end)
{
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mirror->mm);
	for (; start < end && !ret; start = vma->vm_end) {
		vma = vma_lookup(mirror->mm, start);
		if (!vma || !(vma->vm_flags & VM_READ)) {
			ret = -EINVAL;
			break;
		}
		ret = devmodel_go_on(mirror->dev);
	}
	mmap_read_unlock(mirror->mm);
	return ret;
}

static int migrate_to_device(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	struct devmodel_migrate request = {
		.address = cmd->addr,
		.length = cmd->npages << PAGE_SHIFT,
		.target = DEVMODEL_TARGET_DEVICE,
	};
	int ret = check_readable(mirror, cmd->addr, cmd->addr + request.length);

	/* What another device has stays there: the tests count on that. */
	if (!ret)
		ret = devmodel_migrate(mirror, &request, false);
	if (ret)
		return ret;
	/* test_hmm finds no device page where one did not move, and says so. */
	if (request.failed) {
		cmd->cpages = request.moved + request.already;
		return -ENOENT;
	}
	/* What the device has now is returned for verification. */
	ret = access(mirror, cmd, false);
	cmd->faults = 0;
	return ret;
}

static int migrate_to_system(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	struct devmodel_migrate request = {
		.address = cmd->addr,
		.length = cmd->npages << PAGE_SHIFT,
		.target = DEVMODEL_TARGET_SYSTEM,
	};
	int ret = check_readable(mirror, cmd->addr, cmd->addr + request.length);

	if (!ret)
		ret = devmodel_migrate(mirror, &request, false);
	cmd->cpages = request.moved;
	return ret;
}

static u8 page_protection(struct devmodel_dev *dev, unsigned long pfn)
{
	struct page *page;
	u8 prot;

	if (pfn & HMM_PFN_ERROR)
		return PROT_ERROR;
	if (!(pfn & HMM_PFN_VALID))
		return PROT_NONE_PAGE;
	page = hmm_pfn_to_page(pfn);
	if (is_device_private_page(page))
		prot = devmodel_is_hbm(dev, page) ? PROT_PRIVATE_LOCAL : PROT_PRIVATE_REMOTE;
	else if (is_device_coherent_page(page))
		prot = devmodel_is_hbm(dev, page) ? PROT_COHERENT_LOCAL : PROT_COHERENT_REMOTE;
	else
		prot = is_zero_pfn(page_to_pfn(page)) ? PROT_ZERO : PROT_NONE_PAGE;
	prot |= (pfn & HMM_PFN_WRITE) ? PROT_WRITE_PAGE : PROT_READ_PAGE;
	if (hmm_pfn_to_map_order(pfn) + PAGE_SHIFT == PMD_SHIFT)
		prot |= PROT_PMD;
	else if (hmm_pfn_to_map_order(pfn) + PAGE_SHIFT == PUD_SHIFT)
		prot |= PROT_PUD;
	return prot;
}

static int snapshot(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	unsigned long start = cmd->addr, end = start + (cmd->npages << PAGE_SHIFT), next, i;
	unsigned long *pfns = kvmalloc_array(DEVMODEL_BATCH, sizeof(*pfns), GFP_KERNEL);
	int ret = 0;

	if (!pfns)
		return -ENOMEM;
	for (; start < end && !ret; start = next) {
		next = min(end, start + WINDOW_BYTES);
		ret = devmodel_go_on(mirror->dev);
		if (!ret)
			ret = devmodel_cpu_pfns(mirror, start, next, pfns);
		for (i = 0; !ret && i < (next - start) >> PAGE_SHIFT; i++) {
			u8 prot = page_protection(mirror->dev, pfns[i]);

			if (put_user(prot, (u8 __user *)u64_to_user_ptr(cmd->ptr) +
					   cmd->cpages))
				ret = -EFAULT;
			else
				cmd->cpages++;
		}
	}
	kvfree(pfns);
	return ret;
}

static int exclusive(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	int ret = devmodel_mirror_exclusive(mirror, cmd->addr,
					    cmd->addr + (cmd->npages << PAGE_SHIFT));

	if (ret)
		return ret;
	ret = access(mirror, cmd, false);
	cmd->faults = 0;
	return ret;
}

static int check_exclusive(struct devmodel_mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	unsigned long start = cmd->addr, end = start + (cmd->npages << PAGE_SHIFT);
	u64 pte;

	int ret = 0;

	for (; start < end && !ret; start += PAGE_SIZE) {
		mutex_lock(&mirror->pt_lock);
		devmodel_pt_read(mirror, start, start + PAGE_SIZE, &pte);
		mutex_unlock(&mirror->pt_lock);
		ret = (pte & DEVMODEL_PTE_ATOMIC) ? -EPERM : devmodel_go_on(mirror->dev);
	}
	return ret;
}

static int dispatch(struct devmodel_mirror *mirror, unsigned int request,
		    struct hmm_dmirror_cmd *cmd)
{
	switch (request) {
	case HMM_DMIRROR_READ:
		return access(mirror, cmd, false);
	case HMM_DMIRROR_WRITE:
		return access(mirror, cmd, true);
	case HMM_DMIRROR_MIGRATE_TO_DEV:
		return migrate_to_device(mirror, cmd);
	case HMM_DMIRROR_MIGRATE_TO_SYS:
		return migrate_to_system(mirror, cmd);
	case HMM_DMIRROR_SNAPSHOT:
		return snapshot(mirror, cmd);
	case HMM_DMIRROR_EXCLUSIVE:
		return exclusive(mirror, cmd);
	case HMM_DMIRROR_CHECK_EXCLUSIVE:
		return check_exclusive(mirror, cmd);
	case HMM_DMIRROR_RELEASE:
		return devmodel_evict_all(mirror->dev);
	case HMM_DMIRROR_FLAGS:
		WRITE_ONCE(mirror->dev->fail_alloc, cmd->npages & FLAG_FAIL_ALLOC);
		return 0;
	default:
		return -EINVAL;
	}
}

/**
 * devmodel_dmirror_ioctl() - the test interface's requests
 * @mirror: the mirror
 * @request: an HMM_DMIRROR_* number
 * @user: a struct hmm_dmirror_cmd
 *
 * One at a time a mirror: there is one window.
 *
 * Return: 0 or a negative errno, the same as test_hmm's.
 */
int devmodel_dmirror_ioctl(struct devmodel_mirror *mirror, unsigned int request,
			   void __user *user)
{
	struct hmm_dmirror_cmd cmd;
	u64 length, end;
	int ret;

	if (copy_from_user(&cmd, user, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.addr) ||
	    check_mul_overflow(cmd.npages, (u64)PAGE_SIZE, &length) || !length ||
	    check_add_overflow(cmd.addr, length, &end))
		return -EINVAL;
	cmd.cpages = 0;
	cmd.faults = 0;
	if (mutex_lock_killable(&mirror->dmirror_lock))
		return -EINTR;
	ret = dispatch(mirror, request, &cmd);
	mutex_unlock(&mirror->dmirror_lock);
	if (!ret && copy_to_user(user, &cmd, sizeof(cmd)))
		ret = -EFAULT;
	return ret;
}

/**
 * devmodel_dmirror_mmap() - a mapping of kernel pages, as the tests want one
 * @file: the open device
 * @vma: the mapping
 *
 * Return: 0, -ENOMEM, or -EINTR.
 */
int devmodel_dmirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long address;

	for (address = vma->vm_start; address < vma->vm_end; address += PAGE_SIZE) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		int ret;

		if (!page)
			return -ENOMEM;
		if (fatal_signal_pending(current)) {
			__free_page(page);
			return -EINTR;
		}
		ret = vm_insert_page(vma, address, page);
		put_page(page);
		if (ret)
			return ret;
	}
	return 0;
}
