// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors: one address space on one device.
 *
 * DOC: Events
 *
 * The 2015 interface had one update(mirror, event) with
 * new_pte = old_pte & event->pte_mask, called before the change takes effect.
 * That is here, on top of today's interval notifier, in two halves:
 * mirror_update() takes rights away, and when it returns the device has stopped
 * using the old translations; devmodel_mirror_grant() gives what a device fault
 * asked for. event_of() is where the kernel's words become those of 2015.
 *
 * DOC: Lifetime
 *
 * A mirror is made by open() and holds the mm_struct, not its users. It is
 * stopped once: by exit or exec of the address space, by the last close, by
 * removal or loss of the device, or by an update that the device fails,
 * whichever comes first. Stopping ends the device's programs before the context
 * goes; release() is traced there.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "devmodel.h"
#include "trace.h"

/* Context 0 is never used, so that a zeroed command names no mirror. */
#define MAX_CONTEXTS	1023

struct mirror_event {
	const char *name;
	u64 pte_mask;
	bool free_tables;
};

#define NO_WRITE	(~(DEVMODEL_PTE_WRITE | DEVMODEL_PTE_ATOMIC))

static const struct mirror_event EVENT_FORK = { "FORK", NO_WRITE, false };
static const struct mirror_event EVENT_ISDIRTY = { "ISDIRTY", NO_WRITE, false };
static const struct mirror_event EVENT_MIGRATE = { "MIGRATE", 0, false };
static const struct mirror_event EVENT_MUNMAP = { "MUNMAP", 0, true };
static const struct mirror_event EVENT_WRITE_PROTECT = { "WRITE_PROTECT", NO_WRITE, false };
static const struct mirror_event EVENT_EXCLUSIVE = { "EXCLUSIVE", 0, false };

/*
 * The event of 2015 for one of today's; NULL is its NONE: nothing is taken away,
 * so there is nothing to do. What the kernel calls CLEAR is a page that goes
 * while the range stays (reclaim, compaction, KSM, collapse, discarding, COW).
 */
static const struct mirror_event *event_of(const struct mmu_notifier_range *range)
{
	vm_flags_t flags;

	switch (range->event) {
	case MMU_NOTIFY_UNMAP:
	case MMU_NOTIFY_RELEASE:
		return &EVENT_MUNMAP;
	case MMU_NOTIFY_PROTECTION_VMA:
		flags = devmodel_vm_flags(range);
		if (!(flags & VM_READ))
			return &EVENT_MUNMAP;
		/* Writable still, unless it is userfaultfd's pages that are protected. */
		if ((flags & VM_WRITE) && !(flags & VM_UFFD_WP))
			return NULL;
		return &EVENT_WRITE_PROTECT;
	case MMU_NOTIFY_PROTECTION_PAGE:
		/* Of private memory that is fork(), of shared memory write-back. */
		return devmodel_vm_flags(range) & VM_SHARED ? &EVENT_WRITE_PROTECT : &EVENT_FORK;
	case MMU_NOTIFY_SOFT_DIRTY:
		return &EVENT_ISDIRTY;
	case MMU_NOTIFY_EXCLUSIVE:
		return &EVENT_EXCLUSIVE;
	default:
		return &EVENT_MIGRATE;
	}
}

static void mirror_update(struct devmodel_mirror *mirror,
			  const struct mirror_event *event,
			  unsigned long start, unsigned long end)
{
	struct devmodel_pt_count before = {}, after = {};

	if (trace_devmodel_update_enabled())
		before = devmodel_pt_count(mirror, start, end);
	devmodel_pt_update(mirror, start, end, event->pte_mask, event->free_tables);
	/* A range that the device does not map is no news to it. */
	if (before.entries) {
		after = devmodel_pt_count(mirror, start, end);
		trace_devmodel_update(mirror->dev->id, mirror->ctx, event->name, start, end,
				      event->pte_mask, &before, &after);
	}
}

/**
 * devmodel_mirror_grant() - answer a device fault: DEVICE_RFAULT, DEVICE_WFAULT
 * @mirror: the mirror, pt_lock held, the notifier's sequence checked
 * @stash: tables to use
 * @range: what the kernel's page table says, see devmodel_pt_map()
 * @write: the device wants to write
 * @exclusive: it alone is to reach the pages
 *
 * Return: 0, or -ENOMEM if the stash ran out.
 */
int devmodel_mirror_grant(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
			  const struct hmm_range *range, bool write, bool exclusive)
{
	bool traced = trace_devmodel_update_enabled();
	struct devmodel_pt_count before = {}, after;
	int ret;

	if (traced)
		before = devmodel_pt_count(mirror, range->start, range->end);
	ret = devmodel_pt_map(mirror, stash, range, exclusive);
	if (traced && !ret) {
		after = devmodel_pt_count(mirror, range->start, range->end);
		trace_devmodel_update(mirror->dev->id, mirror->ctx,
				      write ? "DEVICE_WFAULT" : "DEVICE_RFAULT",
				      range->start, range->end, ~0ULL, &before, &after);
	}
	return ret;
}

/**
 * devmodel_mirror_cut() - take its context away from the device
 * @mirror: the mirror, pt_lock held
 *
 * Programs end before this is acknowledged; then nobody walks the tables. A
 * device that refuses that, too, is lost.
 */
void devmodel_mirror_cut(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_DESTROY,
		.ctx = mirror->ctx,
	};
	int idx;

	lockdep_assert_held(&mirror->pt_lock);
	if (mirror->stopped)
		return;
	if (devmodel_is_attached(mirror) && !devmodel_control(mirror->dev, &command, 1) &&
	    command.status != DEVMODEL_STATUS_OK &&
	    command.status != DEVMODEL_STATUS_NO_CONTEXT &&
	    devmodel_enter(mirror->dev, &idx)) {
		devmodel_lost(mirror->dev, "it refused to give up a context");
		devmodel_exit(mirror->dev, idx);
	}
	WRITE_ONCE(mirror->stopped, true);
}

static void mirror_stop_locked(struct devmodel_mirror *mirror)
{
	lockdep_assert_held(&mirror->pt_lock);
	if (mirror->released)
		return;
	mirror->released = true;
	devmodel_mirror_cut(mirror);
	mirror_update(mirror, &EVENT_MUNMAP, 0, ULONG_MAX);
	trace_devmodel_release(mirror->dev->id, mirror->ctx);
	devmodel_oracle_mirror(mirror, DEVMODEL_TRACE_RELEASE);
}

/**
 * devmodel_mirror_stop() - end the device's use of a mirror, once
 * @mirror: the mirror; mmap_lock is not held
 */
void devmodel_mirror_stop(struct devmodel_mirror *mirror)
{
	devmodel_exclusive_end_all(mirror);
	mutex_lock(&mirror->pt_lock);
	mirror_stop_locked(mirror);
	mutex_unlock(&mirror->pt_lock);
}

static bool mirror_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long seq)
{
	struct devmodel_mirror *mirror =
		container_of(notifier, struct devmodel_mirror, notifier);
	const struct mirror_event *event = event_of(range);

	/* Our own claim to exclusive access: it gives, and takes nothing. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == mirror->dev)
		return true;
	if (mmu_notifier_range_blockable(range)) {
		mutex_lock(&mirror->pt_lock);
	} else {
		if (!mutex_trylock(&mirror->pt_lock))
			return false;
		/* Waiting for the device sleeps; having nothing to do does not. */
		if (range->event == MMU_NOTIFY_RELEASE ||
		    (event && devmodel_pt_count(mirror, range->start, range->end).entries)) {
			mutex_unlock(&mirror->pt_lock);
			return false;
		}
	}
	mmu_interval_set_seq(notifier, seq);
	atomic64_inc(&mirror->notifications);
	atomic64_inc(&mirror->dev->stats.notifications);
	if (range->event == MMU_NOTIFY_UNMAP)
		devmodel_policy_end(mirror, range->start, range->end);
	if (range->event == MMU_NOTIFY_RELEASE)
		mirror_stop_locked(mirror);
	else if (event)
		mirror_update(mirror, event, range->start, range->end);
	/* The device failed the update: that is the end of this mirror. */
	if (mirror->stopped)
		mirror_stop_locked(mirror);
	mutex_unlock(&mirror->pt_lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};

/**
 * devmodel_is_attached() - does the device know this context?
 * @mirror: the mirror
 *
 * Not before its first life, nor in a life after that until it is told again.
 */
bool devmodel_is_attached(const struct devmodel_mirror *mirror)
{
	return mirror->generation == READ_ONCE(mirror->dev->generation);
}

static int mirror_create_context(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_CREATE,
		.ctx = mirror->ctx,
		.root = page_to_phys(mirror->root),
	};
	struct devmodel_control_command destroy = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_DESTROY,
		.ctx = mirror->ctx,
	};
	u32 generation;
	int ret;

	lockdep_assert_held(&mirror->pt_lock);
	for (;;) {
		generation = READ_ONCE(mirror->dev->generation);
		ret = devmodel_control_one(mirror->dev, &command);
		if (ret)
			return ret;
		mirror->generation = generation;
		if (devmodel_is_attached(mirror))
			return 0;
		/* In which of its lives was it told? Once more, in the present one. */
		devmodel_control(mirror->dev, &destroy, 1);
	}
}

/**
 * devmodel_mirror_attach() - have the device know a mirror's context
 * @mirror: the mirror
 *
 * Waits for the device's next life, if it is to have one. Its page table has
 * stayed what it was.
 *
 * Return: 0, -EINTR, or -EIO: it is lost, or the mirror is.
 */
int devmodel_mirror_attach(struct devmodel_mirror *mirror)
{
	struct devmodel_dev *dev = mirror->dev;
	int ret = 0;

	if (!devmodel_await(dev))
		return fatal_signal_pending(current) ? -EINTR : -EIO;
	if (devmodel_is_attached(mirror))
		return 0;
	mutex_lock(&mirror->pt_lock);
	if (mirror->stopped)
		ret = -EIO;
	else if (!devmodel_is_attached(mirror))
		ret = mirror_create_context(mirror);
	mutex_unlock(&mirror->pt_lock);
	return ret;
}

/* A second mirror of one address space on one device is refused. */
static int mirror_enter(struct devmodel_mirror *mirror)
{
	struct devmodel_dev *dev = mirror->dev;
	struct devmodel_mirror *other;
	unsigned long ctx;
	unsigned int owned = 0;
	int ret = 0;

	mutex_lock(&dev->mirrors_lock);
	xa_for_each(&dev->mirrors, ctx, other) {
		if (other->mm == mirror->mm && !other->closed)
			ret = -EBUSY;
		owned += uid_eq(other->owner, mirror->owner);
	}
	/* Some are left for those who may take what others may not. */
	if (!ret && owned >= DEVMODEL_CONTEXTS_PER_USER && !capable(CAP_SYS_RESOURCE))
		ret = -EMFILE;
	if (!ret) {
		ret = xa_alloc(&dev->mirrors, &mirror->ctx, mirror,
			       XA_LIMIT(1, MAX_CONTEXTS), GFP_KERNEL_ACCOUNT);
		/* The device has no more of them. */
		ret = ret == -EBUSY ? -ENOSPC : ret;
	}
	mutex_unlock(&dev->mirrors_lock);
	return ret;
}

/* Its file is closed. Its worker may be stuck, and holds the context until it is not. */
static void mirror_close(struct devmodel_mirror *mirror)
{
	mutex_lock(&mirror->dev->mirrors_lock);
	mirror->closed = true;
	mutex_unlock(&mirror->dev->mirrors_lock);
}

/*
 * Opening a device holds up all others who open one (misc_mtx), so this does not
 * wait for long: the lock may be held by who waits for memory that does not come.
 */
static int mirror_watch(struct devmodel_mirror *mirror)
{
	unsigned long deadline = jiffies + HZ / 4;
	int ret;

	while (!devmodel_mmap_write_trylock(mirror->mm)) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, deadline))
			return -EAGAIN;
		schedule_timeout_killable(1);
	}
	ret = mmu_interval_notifier_insert_locked(&mirror->notifier, mirror->mm, 0,
						  ULONG_MAX & PAGE_MASK,
						  &mirror_notifier_ops);
	mmap_write_unlock(mirror->mm);
	return ret;
}

/**
 * devmodel_mirror_register() - mirror the current address space on a device
 * @dev: the device
 *
 * Return: the mirror, or an ERR_PTR: -EAGAIN if the address space is busy for too
 * long, -EBUSY if there is one already, -EINVAL
 * without an address space, -EMFILE if the user has as many as he may have,
 * -ENOSPC if the device has no more contexts, -EIO if it is lost, -ENODEV if it
 * leaves.
 */
struct devmodel_mirror *devmodel_mirror_register(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	int ret;

	if (!current->mm)
		return ERR_PTR(-EINVAL);
	if (!devmodel_await(dev))
		return ERR_PTR(fatal_signal_pending(current) ? -EINTR : -EIO);
	mirror = kzalloc_obj(*mirror, GFP_KERNEL_ACCOUNT);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mirror->dev = dev;
	kref_get(&dev->ref);
	/* A mirror may outlive its file by a fault that is stuck. */
	__module_get(THIS_MODULE);
	mirror->owner = current_uid();
	mirror->mm = current->mm;
	mmgrab(mirror->mm);
	kref_init(&mirror->ref);
	mutex_init(&mirror->pt_lock);
	mutex_init(&mirror->dmirror_lock);
	devmodel_fault_queue_init(&mirror->fault_queue);
	devmodel_policy_init(mirror);
	xa_init_flags(&mirror->programs, XA_FLAGS_ALLOC1);
	/* Until the device knows the context there is nothing to stop in it. */
	mirror->stopped = true;
	mirror->released = true;

	ret = devmodel_pt_init(mirror);
	if (ret)
		goto err_put;
	ret = mirror_enter(mirror);
	if (ret)
		goto err_put;
	ret = mirror_watch(mirror);
	if (ret)
		goto err_put;
	mutex_lock(&mirror->pt_lock);
	ret = mirror_create_context(mirror);
	if (!ret) {
		devmodel_oracle_mirror(mirror, DEVMODEL_TRACE_REGISTER);
		mirror->released = false;
		/* From here on devmodel_mirror_get() finds it. */
		smp_store_release(&mirror->stopped, false);
	}
	mutex_unlock(&mirror->pt_lock);
	if (ret)
		goto err_notifier;
	atomic64_inc(&dev->stats.mirrors);
	trace_devmodel_register(dev->id, mirror->ctx);
	/* Either removal sees this mirror and stops it, or it is seen here. */
	smp_mb();
	if (READ_ONCE(dev->leaving)) {
		devmodel_mirror_unregister(mirror);
		return ERR_PTR(-ENODEV);
	}
	return mirror;

err_notifier:
	mmu_interval_notifier_remove(&mirror->notifier);
err_put:
	mirror_close(mirror);
	/* Whoever goes through the mirrors may have found it already. */
	devmodel_mirror_put(mirror);
	return ERR_PTR(ret);
}

static void mirror_free(struct kref *ref)
{
	struct devmodel_mirror *mirror = container_of(ref, struct devmodel_mirror, ref);

	/* Only now may the context be given out again. 0 was none. */
	mutex_lock(&mirror->dev->mirrors_lock);
	if (mirror->ctx)
		xa_erase(&mirror->dev->mirrors, mirror->ctx);
	mutex_unlock(&mirror->dev->mirrors_lock);
	mutex_lock(&mirror->pt_lock);
	devmodel_pt_fini(mirror);
	mutex_unlock(&mirror->pt_lock);
	devmodel_policy_fini(mirror);
	xa_destroy(&mirror->programs);
	mmdrop(mirror->mm);
	kref_put(&mirror->dev->ref, devmodel_dev_release);
	kfree(mirror);
	/* Unloading waits for who calls this: a file, or a worker. */
	module_put(THIS_MODULE);
}

void devmodel_mirror_put(struct devmodel_mirror *mirror)
{
	/* Its address alone is used after this. */
	if (!kref_put(&mirror->ref, mirror_free))
		wake_up_var(mirror);
}

/**
 * devmodel_mirror_get() - the mirror of a context, with a reference
 * @dev: the device
 * @ctx: context id, from the device and so perhaps nonsense
 *
 * One that is on its way is not found: a late fault of the mirror that had the
 * context before must not reach it.
 *
 * Return: the mirror or NULL.
 */
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx)
{
	struct devmodel_mirror *mirror;

	mutex_lock(&dev->mirrors_lock);
	mirror = xa_load(&dev->mirrors, ctx);
	/* Pairs with devmodel_mirror_register(). */
	if (mirror && (smp_load_acquire(&mirror->stopped) || !kref_get_unless_zero(&mirror->ref)))
		mirror = NULL;
	mutex_unlock(&dev->mirrors_lock);
	return mirror;
}

/**
 * devmodel_mirror_unregister() - the last close
 * @mirror: the mirror; gone afterwards, but for the fault thread's reference
 */
void devmodel_mirror_unregister(struct devmodel_mirror *mirror)
{
	devmodel_mirror_stop(mirror);
	devmodel_programs_drop(mirror);
	mmu_interval_notifier_remove(&mirror->notifier);
	mirror_close(mirror);
	atomic64_dec(&mirror->dev->stats.mirrors);
	/* A worker that is not stuck is about to end: who closes a device may unload its driver. */
	wait_var_event_timeout(mirror, kref_read(&mirror->ref) == 1, HZ / 5);
	devmodel_mirror_put(mirror);
}

/**
 * devmodel_mirror_next() - one mirror after the other
 * @dev: the device
 * @ctx: 0 to begin; the mirror's context id, to go on from
 *
 * Return: the next mirror, with a reference, or NULL.
 */
struct devmodel_mirror *devmodel_mirror_next(struct devmodel_dev *dev, unsigned long *ctx)
{
	struct devmodel_mirror *mirror;

	mutex_lock(&dev->mirrors_lock);
	do
		mirror = xa_find_after(&dev->mirrors, ctx, ULONG_MAX, XA_PRESENT);
	while (mirror && !kref_get_unless_zero(&mirror->ref));
	mutex_unlock(&dev->mirrors_lock);
	return mirror;
}

/* Stop every mirror of a device that is going away. Their files stay open. */
void devmodel_mirrors_stop(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	unsigned long ctx = 0;

	while ((mirror = devmodel_mirror_next(dev, &ctx))) {
		devmodel_mirror_stop(mirror);
		devmodel_mirror_put(mirror);
	}
}
