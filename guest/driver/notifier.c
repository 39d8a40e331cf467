// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel tells a mirror, from its beginning to its end.
 *
 * DOC: Lifetime
 *
 * A mirror is made by open() and holds the mm_struct, not its users. It is
 * stopped once: by exit or exec of the address space, by the last close, by
 * removal or loss of the device, or by an update that the device fails,
 * whichever comes first. Stopping ends the device's programs before the context
 * goes; release() is traced there.
 */
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/wait_bit.h>

#include "compat.h"
#include "compute.h"
#include "context.h"
#include "device.h"
#include "event.h"
#include "exclusive.h"
#include "fault_queue.h"
#include "mirror.h"
#include "notifier.h"
#include "oracle.h"
#include "policy.h"
#include "state.h"
#include "trace.h"
#include "walk.h"

static void mirror_stop_locked(struct devmodel_mirror *mirror)
{
	lockdep_assert_held(&mirror->pt_lock);
	if (mirror->released)
		return;
	mirror->released = true;
	devmodel_context_cut(mirror);
	devmodel_mirror_update(mirror, &devmodel_event_munmap, 0, ULONG_MAX);
	trace_devmodel_release(mirror->dev->id, mirror->ctx);
	devmodel_oracle_mirror(mirror, DEVMODEL_TRACE_RELEASE);
}

/**
 * mirror_stop() - end the device's use of a mirror, once
 * @mirror: the mirror; mmap_lock is not held
 */
static void mirror_stop(struct devmodel_mirror *mirror)
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
	const struct devmodel_event *event = devmodel_event_of(range);

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
	if (range->event == MMU_NOTIFY_UNMAP)
		devmodel_policy_end(mirror, range->start, range->end);
	if (range->event == MMU_NOTIFY_RELEASE)
		mirror_stop_locked(mirror);
	else if (event)
		devmodel_mirror_update(mirror, event, range->start, range->end);
	/* The device failed the update: that is the end of this mirror. */
	if (mirror->stopped)
		mirror_stop_locked(mirror);
	mutex_unlock(&mirror->pt_lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};

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
	mirror = devmodel_mirror_new(dev);
	if (IS_ERR(mirror))
		return mirror;
	devmodel_fault_queue_init(&mirror->fault_queue);
	ret = mirror_watch(mirror);
	if (ret)
		goto err_put;
	mutex_lock(&mirror->pt_lock);
	ret = devmodel_context_create(mirror);
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
	devmodel_mirror_close(mirror);
	/* Whoever goes through the mirrors may have found it already. */
	devmodel_mirror_put(mirror);
	return ERR_PTR(ret);
}

/**
 * devmodel_mirror_unregister() - the last close
 * @mirror: the mirror; gone afterwards, but for the fault thread's reference
 */
void devmodel_mirror_unregister(struct devmodel_mirror *mirror)
{
	mirror_stop(mirror);
	devmodel_programs_drop(mirror);
	mmu_interval_notifier_remove(&mirror->notifier);
	devmodel_mirror_close(mirror);
	atomic64_dec(&mirror->dev->stats.mirrors);
	/* A worker that is not stuck is about to end: who closes a device may unload its driver. */
	wait_var_event_timeout(mirror, kref_read(&mirror->ref) == 1, HZ / 5);
	devmodel_mirror_put(mirror);
}

/* Take away from the device all that it was given; it may ask again. */
void devmodel_mirrors_forget(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	unsigned long ctx = 0;

	while ((mirror = devmodel_mirror_next(dev, &ctx))) {
		mutex_lock(&mirror->pt_lock);
		if (!mirror->stopped)
			devmodel_mirror_update(mirror, &devmodel_event_munmap, 0, ULONG_MAX);
		mutex_unlock(&mirror->pt_lock);
		devmodel_mirror_put(mirror);
		cond_resched();
	}
}

/* Stop every mirror of a device that is going away. Their files stay open. */
void devmodel_mirrors_stop(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	unsigned long ctx = 0;

	while ((mirror = devmodel_mirror_next(dev, &ctx))) {
		mirror_stop(mirror);
		devmodel_mirror_put(mirror);
	}
}
