// SPDX-License-Identifier: GPL-2.0
/*
 * The fault buffer: the device suspends an access, puts a record into it, and
 * goes on with something else.
 *
 * DOC: Order
 *
 * One thread a device takes the records and does nothing but sort them: each
 * mirror has a queue of its own, which one worker at a time serves, in batches,
 * with one replay a batch. A process whose memory does not come (a frozen file
 * system, slow storage, a dying control group) thus delays its own faults.
 *
 * A queue that is full drops the record: the replay of what was before it tries
 * the access again, and that faults again.
 */
#include <linux/kthread.h>

#include "aside.h"
#include "control.h"
#include "device.h"
#include "evict.h"
#include "fault_buffer.h"
#include "fault_queue.h"
#include "loss.h"
#include "mirror.h"
#include "notifier.h"
#include "ring.h"
#include "state.h"

/* How long pages that are held on to may keep a device that lost them from coming back. */
#define LOSE_TIMEOUT	HZ

/* A record of nobody's: whoever waits for it in the device ends. */
static void refuse(struct devmodel_dev *dev, const struct devmodel_fault_record *fault)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CANCEL, .ctx = fault->ctx, .seq = fault->seq,
	};

	atomic64_inc(&dev->stats.device_faults);
	devmodel_control_one(dev, &command);
}

/* What is in the buffer now; a device that goes on writing has others wait in between. */
static void sort(struct devmodel_dev *dev)
{
	unsigned int left = dev->fault_ring.entries;
	struct devmodel_fault_record fault;
	struct devmodel_mirror *mirror;

	while (left-- && devmodel_ring_consume(dev, &dev->fault_ring, &fault)) {
		if (fault.access == DEVMODEL_ACCESS_POISON)
			devmodel_bus_failed(dev, fault.bus);
		mirror = devmodel_mirror_get(dev, fault.ctx);
		if (mirror) {
			devmodel_fault_enqueue(mirror, &fault);
			devmodel_mirror_put(mirror);
		} else {
			refuse(dev, &fault);
		}
		cond_resched();
	}
}

/*
 * All that HBM held is lost. A page may be held on to for a moment, by a CPU that
 * faults on it, say; one that is for longer keeps nobody waiting.
 *
 * Return: 0, or -ENOMEM: there is nothing to put in the pages' place yet.
 */
static int lose_all(struct devmodel_dev *dev)
{
	unsigned long deadline = jiffies + LOSE_TIMEOUT, lost = devmodel_hbm_lose(dev);
	int ret;

	if (lost)
		dev_err(&dev->pdev->dev, "%lu pages in HBM are lost\n", lost);
	devmodel_mirrors_forget(dev);
	for (;;) {
		ret = devmodel_evict_lost(dev);
		if (ret != -EBUSY || time_after(jiffies, deadline))
			return ret == -ENOMEM ? ret : 0;
		schedule_timeout_uninterruptible(1);
	}
}

/*
 * Take on the next life of a lost device, if it has begun. If its HBM has not
 * outlived the last one, what pages had there is lost. The device empties it
 * with the reset that names this life, so that no CPU sees it empty.
 */
static bool recover(struct devmodel_dev *dev)
{
	if (!devmodel_has_returned(dev))
		return false;
	if ((dev->identity.features & DEVMODEL_FEATURE_HBM_VOLATILE) && lose_all(dev))
		return false;
	return devmodel_recover(dev);
}

/**
 * devmodel_fault_thread() - sort the fault buffer until told to stop
 * @data: the device
 *
 * Return: 0.
 */
int devmodel_fault_thread(void *data)
{
	struct devmodel_dev *dev = data;

	while (!kthread_should_stop()) {
		/* Nobody else may wait for it; mirrors made meanwhile go next time. */
		if (devmodel_answers(dev) || recover(dev))
			sort(dev);
		else if (!devmodel_may_return(dev))
			devmodel_mirrors_stop(dev);
		devmodel_aside_end(dev);
		devmodel_ring_arm(&dev->fault_ring);
		/* An interrupt can be lost: look again after a while. */
		wait_event_interruptible_timeout(dev->fault_wait,
						 kthread_should_stop() ||
						 (!devmodel_is_lost(dev) &&
						  devmodel_ring_pending(dev, &dev->fault_ring)),
						 DEVMODEL_LOOK_AGAIN);
	}
	return 0;
}
