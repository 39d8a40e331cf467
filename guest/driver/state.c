// SPDX-License-Identifier: GPL-2.0
/*
 * The state of a device: who may use it, whether it answers, and how it is made
 * to forget.
 *
 * Below ring, control and completion, which all ask here and know nothing of
 * each other for it. The device is another program: what it says of itself is
 * read once, at bring-up (dev->identity), and what lives (state, heartbeat,
 * reset_ack, generation) is read here and nowhere else.
 *
 * DOC: Removal
 *
 * Who reads or writes the region does so between devmodel_enter() and
 * devmodel_exit(), and waits there for nobody but the device, for
 * DEVMODEL_TIMEOUT at most. So removal waits for no user's memory: it sets
 * dev->leaving, after which nothing new begins, brings the pages home, and sets
 * dev->gone, after which devmodel_enter() refuses. Whoever was at work for a
 * user meanwhile holds a reference and finds that out.
 */
#include <linux/delay.h>
#include <linux/sched/signal.h>

#include "devmodel.h"

/**
 * devmodel_enter() - begin to use the device's region
 * @dev: the device; the caller has a reference
 * @idx: for devmodel_exit()
 *
 * Return: false if it has gone; there is nothing to end then.
 */
bool devmodel_enter(struct devmodel_dev *dev, int *idx)
{
	*idx = srcu_read_lock(&dev->alive);
	if (!READ_ONCE(dev->gone))
		return true;
	srcu_read_unlock(&dev->alive, *idx);
	return false;
}

void devmodel_exit(struct devmodel_dev *dev, int idx)
{
	srcu_read_unlock(&dev->alive, idx);
}

/**
 * devmodel_leave() - let nothing new begin
 * @dev: the device that is about to be removed
 */
void devmodel_leave(struct devmodel_dev *dev)
{
	/* The lock: no frame is given out from here on. */
	spin_lock_irq(&dev->devmem.lock);
	WRITE_ONCE(dev->leaving, true);
	spin_unlock_irq(&dev->devmem.lock);
	synchronize_srcu(&dev->alive);
}

/**
 * devmodel_gone() - let nobody use the region any more
 * @dev: a device that devmodel_leave() was called for
 */
void devmodel_gone(struct devmodel_dev *dev)
{
	WRITE_ONCE(dev->gone, true);
	synchronize_srcu(&dev->alive);
}

/**
 * devmodel_go_on() - may a loop whose length a user chose go on?
 * @dev: the device it is about
 *
 * Return: 0, -EINTR: the user is being killed, -ENODEV: the device leaves.
 */
int devmodel_go_on(struct devmodel_dev *dev)
{
	cond_resched();
	if (READ_ONCE(dev->leaving))
		return -ENODEV;
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* Ring the device's doorbell. It may be lost: the device looks again by itself. */
void devmodel_bell(struct devmodel_dev *dev)
{
	iowrite32(dev->identity.peer << 16, dev->doorbell);
}

/* Tell the device to forget everything, in any context. Return: what it says once it has. */
static u64 reset_begin(struct devmodel_dev *dev)
{
	u64 epoch = READ_ONCE(dev->driver_regs->epoch) + 1;

	if (!epoch)
		epoch = 1;
	/* What we wrote before belongs to the old epoch. */
	virt_store_release(&dev->driver_regs->epoch, epoch);
	devmodel_bell(dev);
	return epoch;
}

/**
 * devmodel_reset() - have the device forget everything
 * @dev: the device; nobody else uses it yet
 *
 * Return: 0, or -ETIMEDOUT.
 */
int devmodel_reset(struct devmodel_dev *dev)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;
	u64 epoch = reset_begin(dev);

	/* The rings are empty once the device says so. */
	while (virt_load_acquire(&dev->regs->reset_ack) != epoch) {
		if (time_after(jiffies, deadline)) {
			dev_err(&dev->pdev->dev, "no answer to a reset\n");
			return -ETIMEDOUT;
		}
		devmodel_bell(dev);
		usleep_range(50, 200);
	}
	return 0;
}

/**
 * devmodel_lost() - give a device up
 * @dev: the device; between devmodel_enter() and devmodel_exit()
 * @why: for the log, continues "device lost: "
 *
 * Who waits for it finds out by devmodel_answers(). Called from any context.
 */
void devmodel_lost(struct devmodel_dev *dev, const char *why)
{
	if (xchg(&dev->lost, true))
		return;
	dev_err(&dev->pdev->dev, "device lost: %s\n", why);
	/* If it lives after all, it is to touch nothing that it was given again. */
	reset_begin(dev);
	wake_up_all(&dev->fault_wait);
}

/**
 * devmodel_may_write() - may a device that was given up still write?
 * @dev: the device
 *
 * Not once it has reset itself, nor once its agent has ended: whoever watches
 * the agent ends it if it does not, and says so in the device's state.
 *
 * Return: true for as long as that is not known.
 */
bool devmodel_may_write(struct devmodel_dev *dev)
{
	bool ended, reset;
	int idx;

	if (!devmodel_is_lost(dev))
		return false;
	if (!devmodel_enter(dev, &idx))
		return true;
	ended = READ_ONCE(dev->regs->state) != DEVMODEL_DEVICE_READY;
	/* What it wrote for the old epoch is there before it says so. */
	reset = virt_load_acquire(&dev->regs->reset_ack) == READ_ONCE(dev->driver_regs->epoch);
	devmodel_exit(dev, idx);
	return !ended && !reset;
}

/* How often it has looked round, or 0 if it has gone. */
u64 devmodel_heartbeat(struct devmodel_dev *dev)
{
	u64 beats = 0;
	int idx;

	if (devmodel_enter(dev, &idx)) {
		beats = READ_ONCE(dev->regs->heartbeat);
		devmodel_exit(dev, idx);
	}
	return beats;
}

/**
 * devmodel_answers() - see whether the device's agent has ended
 * @dev: the device; between devmodel_enter() and devmodel_exit()
 *
 * Return: false if the device is lost.
 */
bool devmodel_answers(struct devmodel_dev *dev)
{
	if (!devmodel_is_lost(dev) && READ_ONCE(dev->regs->state) != DEVMODEL_DEVICE_READY)
		devmodel_lost(dev, "its agent ended");
	return !devmodel_is_lost(dev);
}
