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
 * DOC: States
 *
 *   running --devmodel_lost()--> lost --devmodel_recover()--> running
 *      |                          |
 *      +---- devmodel_gone() -----+--> gone
 *
 * A lost device is asked for nothing. Whoever watches its agent may start
 * another on the same memory: a new generation, with its registers in the same
 * place, the same HBM, and no memory of rings, contexts and programs. The fault
 * thread takes it on. Page tables have stayed; a mirror's context is made again
 * when it launches something; what was being waited for ends with an error, as
 * it was another life of the device that was asked (dev->generation).
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

#include "device.h"
#include "state.h"

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
 * @generation: the life that it is in. If its HBM does not outlive a life, it
 *	empties it here, and not by itself: see loss.c.
 *
 * Return: 0, or -ETIMEDOUT.
 */
int devmodel_reset(struct devmodel_dev *dev, u64 generation)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;
	u64 epoch;

	WRITE_ONCE(dev->driver_regs->generation, generation);
	epoch = reset_begin(dev);

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
	WRITE_ONCE(dev->lost_since, jiffies);
	dev_err(&dev->pdev->dev, "device lost: %s\n", why);
	/* If it lives after all, it is to touch nothing that it was given again. */
	reset_begin(dev);
	wake_up_all(&dev->fault_wait);
}

/* Does a lost device's agent still run, and has not done the reset? It is being ended then. */
static bool is_stuck(struct devmodel_dev *dev)
{
	/* What it wrote for the old epoch is there before it says so. */
	u64 done = virt_load_acquire(&dev->regs->reset_ack);

	return READ_ONCE(dev->regs->state) == DEVMODEL_DEVICE_READY &&
	       done != READ_ONCE(dev->driver_regs->epoch);
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
	bool may;
	int idx;

	if (!devmodel_is_lost(dev))
		return false;
	if (!devmodel_enter(dev, &idx))
		return true;
	may = is_stuck(dev);
	devmodel_exit(dev, idx);
	return may;
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
	if (!devmodel_is_lost(dev) &&
	    (READ_ONCE(dev->regs->state) != DEVMODEL_DEVICE_READY ||
	     READ_ONCE(dev->regs->generation) != dev->identity.generation))
		devmodel_lost(dev, "its agent ended");
	return !devmodel_is_lost(dev);
}

/* Is another life of a lost device there? */
static bool has_begun(struct devmodel_dev *dev)
{
	return READ_ONCE(dev->regs->state) == DEVMODEL_DEVICE_READY &&
	       READ_ONCE(dev->regs->generation) != dev->identity.generation;
}

/**
 * devmodel_may_return() - may a lost device have another life?
 * @dev: the device
 *
 * Return: false once it is known that it will not, or has had time enough.
 */
bool devmodel_may_return(struct devmodel_dev *dev)
{
	bool may;
	int idx;

	if (time_after(jiffies, READ_ONCE(dev->lost_since) + DEVMODEL_RETURN) ||
	    !devmodel_enter(dev, &idx))
		return false;
	may = READ_ONCE(dev->regs->state) == DEVMODEL_DEVICE_RESTARTING || is_stuck(dev) ||
	      has_begun(dev);
	devmodel_exit(dev, idx);
	return may;
}

/**
 * devmodel_is_away() - is a device lost that may return?
 * @dev: the device
 *
 * Waits a little before it says so. Whoever is being killed is told that it is not.
 *
 * Return: whether to ask again.
 */
bool devmodel_is_away(struct devmodel_dev *dev)
{
	if (!devmodel_is_lost(dev) || READ_ONCE(dev->leaving) || fatal_signal_pending(current) ||
	    !devmodel_may_return(dev))
		return false;
	wait_event_killable_timeout(dev->back, !devmodel_is_lost(dev), DEVMODEL_LOOK_AGAIN);
	return true;
}

/**
 * devmodel_await() - wait for a device that may return
 * @dev: the device
 *
 * Killable. DEVMODEL_RETURN at most.
 *
 * Return: whether it is running.
 */
bool devmodel_await(struct devmodel_dev *dev)
{
	while (devmodel_is_away(dev))
		continue;
	return !devmodel_is_lost(dev);
}

/* Is what has come back the device that we know? Nothing but its generation may differ. */
static bool is_same(struct devmodel_dev *dev, const struct devmodel_device_regs *now)
{
	struct devmodel_device_regs known = dev->identity;

	known.generation = now->generation;
	known.heartbeat = now->heartbeat;
	known.reset_ack = now->reset_ack;
	return !memcmp(&known, now, sizeof(known));
}

/* The device's rings are empty in its new life, and nobody produces while it is lost. */
static void rings_restart(struct devmodel_dev *dev)
{
	mutex_lock(&dev->control_lock);
	dev->control.index = 0;
	mutex_unlock(&dev->control_lock);
	spin_lock_irq(&dev->submit_lock);
	dev->copy_ring.index = 0;
	dev->compute_ring.index = 0;
	spin_unlock_irq(&dev->submit_lock);
	spin_lock_irq(&dev->completion_lock);
	dev->completion_ring.index = 0;
	dev->completed = 0;
	atomic64_set(&dev->submitted, 0);
	spin_unlock_irq(&dev->completion_lock);
	spin_lock_irq(&dev->trace_lock);
	dev->trace_ring.index = 0;
	spin_unlock_irq(&dev->trace_lock);
	dev->fault_ring.index = 0;
}

/**
 * devmodel_has_returned() - has the next life of a lost device begun?
 * @dev: the device; called by the fault thread
 *
 * Return: whether devmodel_recover() may take it on.
 */
bool devmodel_has_returned(struct devmodel_dev *dev)
{
	struct devmodel_device_regs now;

	/* Written last: whoever finds it finds the rest. */
	if (virt_load_acquire(&dev->regs->magic) != DEVMODEL_MAGIC || !has_begun(dev))
		return false;
	memcpy(&now, dev->regs, sizeof(now));
	if (is_same(dev, &now))
		return true;
	dev_err_ratelimited(&dev->pdev->dev, "what came back is another device\n");
	return false;
}

/**
 * devmodel_recover() - take on the next life of a lost device
 * @dev: the device; devmodel_has_returned() said so
 *
 * Return: whether it is running again.
 */
bool devmodel_recover(struct devmodel_dev *dev)
{
	u64 generation = READ_ONCE(dev->regs->generation);

	rings_restart(dev);
	/* Before the reset: what is copied from here on is another life's. */
	WRITE_ONCE(dev->generation, dev->generation + 1);
	if (devmodel_reset(dev, generation))
		return false;
	dev->identity.generation = generation;
	/* Whoever sees it running sees that it is another life. */
	smp_store_release(&dev->lost, false);
	dev_info(&dev->pdev->dev, "device back: generation %llu, after %u ms\n", generation,
		 jiffies_to_msecs(jiffies - dev->lost_since));
	wake_up_all(&dev->back);
	return true;
}
