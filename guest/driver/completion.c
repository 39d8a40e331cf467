// SPDX-License-Identifier: GPL-2.0
/*
 * The completion ring, and those who wait for something on it.
 *
 * Drained by the completion interrupt, and by a waiter that has waited for a
 * while: an interrupt can be lost, the ring is the truth.
 */
#include <linux/slab.h>

#include "completion.h"
#include "device.h"
#include "ring.h"
#include "state.h"
#include "trace.h"

/*
 * Here and not beside the others: lockdep tells locks apart by the place of
 * their initialisation, and xa_init_flags() is one place per C file. This lock
 * is taken in interrupts, that of dev->mirrors is not.
 */
void devmodel_completion_init(struct devmodel_dev *dev)
{
	spin_lock_init(&dev->completion_lock);
	xa_init_flags(&dev->waiting, XA_FLAGS_LOCK_IRQ);
}

static void pending_free(struct kref *ref)
{
	kfree(container_of(ref, struct devmodel_pending, ref));
}

void devmodel_pending_put(struct devmodel_pending *pending)
{
	kref_put(&pending->ref, pending_free);
}

/**
 * devmodel_pending_new() - a new cookie, and a place for its completion
 * @dev: the device
 *
 * Return: one reference for the caller (the device's own is dropped when the
 * completion comes or by devmodel_pending_forget()), or NULL: no memory.
 */
struct devmodel_pending *devmodel_pending_new(struct devmodel_dev *dev)
{
	struct devmodel_pending *pending = kzalloc(sizeof(*pending), GFP_KERNEL_ACCOUNT);

	if (!pending)
		return NULL;
	kref_init(&pending->ref);
	kref_get(&pending->ref);
	init_completion(&pending->done);
	pending->cookie = atomic64_inc_return(&dev->cookie);
	if (xa_err(xa_store_irq(&dev->waiting, pending->cookie, pending,
				GFP_KERNEL_ACCOUNT))) {
		kfree(pending);
		return NULL;
	}
	return pending;
}

/* Nobody waits any more, and the completion, should it come, is dropped. */
void devmodel_pending_forget(struct devmodel_dev *dev,
			     struct devmodel_pending *pending)
{
	if (xa_erase_irq(&dev->waiting, pending->cookie))
		devmodel_pending_put(pending);
}

/**
 * devmodel_submit() - put a command on a ring that is answered by a completion
 * @dev: the device
 * @ring: the ring; submit_lock is held
 * @command: the command
 * @pending: who waits for it
 *
 * Return: false if the ring is full, or the device lost.
 */
bool devmodel_submit(struct devmodel_dev *dev, struct devmodel_ring *ring,
		     const void *command, struct devmodel_pending *pending)
{
	lockdep_assert_held(&dev->submit_lock);
	if (devmodel_is_lost(dev))
		return false;
	pending->generation = dev->generation;
	/* Counted first: the device may be quick. */
	atomic64_inc(&dev->submitted);
	if (devmodel_ring_produce(dev, ring, command))
		return true;
	atomic64_dec(&dev->submitted);
	return false;
}

/* Completions taken under the lock in one go. */
#define TAKE		32

static void complete_one(struct devmodel_dev *dev, const struct devmodel_completion *entry)
{
	struct devmodel_pending *pending;

	xa_lock(&dev->waiting);
	pending = __xa_erase(&dev->waiting, entry->cookie);
	xa_unlock(&dev->waiting);
	trace_devmodel_completion(dev->id, entry, pending);
	if (!pending)
		return;
	pending->result = *entry;
	complete_all(&pending->done);
	devmodel_pending_put(pending);
}

/**
 * devmodel_completions() - take some of what is on the completion ring
 * @dev: the device
 *
 * Any context. A device that goes on writing does not keep us here: whoever may
 * take longer calls again.
 *
 * Return: whether there may be more.
 */
bool devmodel_completions(struct devmodel_dev *dev)
{
	struct devmodel_completion entry;
	unsigned int taken = 0;
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&dev->completion_lock, flags);
	while (taken < TAKE && !devmodel_is_lost(dev) &&
	       devmodel_ring_consume(dev, &dev->completion_ring, &entry)) {
		taken++;
		if (++dev->completed > atomic64_read(&dev->submitted)) {
			devmodel_lost(dev, "it completed more than it was asked for");
			break;
		}
		complete_one(dev, &entry);
	}
	devmodel_ring_arm(&dev->completion_ring);
	more = !devmodel_is_lost(dev) &&
	       devmodel_ring_pending(dev, &dev->completion_ring);
	spin_unlock_irqrestore(&dev->completion_lock, flags);
	return more;
}

/*
 * What a waiter does when it has heard nothing for a while. Return: false: the
 * device that was asked is no more.
 */
static bool look(struct devmodel_dev *dev, const struct devmodel_pending *pending)
{
	bool answers;
	int idx;

	if (!devmodel_enter(dev, &idx))
		return false;
	answers = devmodel_answers(dev) && pending->generation == READ_ONCE(dev->generation);
	if (answers) {
		devmodel_completions(dev);
		devmodel_bell(dev);
	}
	devmodel_exit(dev, idx);
	return answers;
}

/**
 * devmodel_pending_wait() - wait for a completion
 * @dev: the device
 * @pending: what to wait for
 * @timeout: jiffies
 * @interruptible: a signal ends the wait
 *
 * Return: 0 when @pending->result is valid, -ETIME, -ERESTARTSYS, or -EIO: the
 * device is lost or taken away.
 */
long devmodel_pending_wait(struct devmodel_dev *dev,
			   struct devmodel_pending *pending, long timeout,
			   bool interruptible)
{
	unsigned long deadline = jiffies + timeout;
	long slice, left;

	for (;;) {
		left = (long)(deadline - jiffies);
		slice = clamp_t(long, left, 1, DEVMODEL_LOOK_AGAIN);
		slice = interruptible ?
			wait_for_completion_interruptible_timeout(&pending->done, slice) :
			wait_for_completion_timeout(&pending->done, slice);
		if (slice < 0)
			return slice;
		if (slice)
			return 0;
		if (interruptible && READ_ONCE(dev->leaving))
			return -EIO;
		if (!look(dev, pending))
			return -EIO;
		if (try_wait_for_completion(&pending->done))
			return 0;
		if (left <= 0)
			return -ETIME;
	}
}
