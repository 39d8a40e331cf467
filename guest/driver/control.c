// SPDX-License-Identifier: GPL-2.0
/*
 * The control ring: synchronous commands. A command is done, and its status in
 * its slot, when the device's consumer index has passed it; so waiting for an
 * acknowledged invalidate is waiting for an index.
 *
 * This runs inside notifier callbacks: no allocation, and every wait is bounded.
 */
#include <linux/delay.h>
#include <linux/ktime.h>

#include "control.h"
#include "device.h"
#include "ring.h"
#include "state.h"

/* An answer takes some 10 us: spin that long before paying for a sleep. */
#define SPIN_NS		(40 * NSEC_PER_USEC)

static int control_wait(struct devmodel_dev *dev, u64 index)
{
	struct devmodel_ring *ring = &dev->control;
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;
	ktime_t start = ktime_get();
	u64 consumed;

	for (;;) {
		/* Pairs with the device's store after it did the command. */
		consumed = virt_load_acquire(&ring->header->consumed);
		if (consumed == index)
			return 0;
		if (index - consumed > ring->entries) {
			devmodel_lost(dev, "it moved the control index where none can be");
			return -EIO;
		}
		if (!devmodel_answers(dev))
			return -EIO;
		if (time_after(jiffies, deadline)) {
			devmodel_lost(dev, "no answer on the control ring");
			return -EIO;
		}
		if (ktime_to_ns(ktime_sub(ktime_get(), start)) < SPIN_NS) {
			cpu_relax();
			continue;
		}
		usleep_range(20, 60);
		/* A doorbell can be lost; ringing again is harmless. */
		if (ktime_to_ms(ktime_sub(ktime_get(), start)) > 5)
			devmodel_bell(dev);
	}
}

/**
 * devmodel_control() - have commands done, in order
 * @dev: the device
 * @commands: the commands; @status of each is filled in
 * @count: how many
 *
 * Return: 0 when all were consumed (see each status), or -EIO: the device is lost or
 * gone.
 */
int devmodel_control(struct devmodel_dev *dev,
		     struct devmodel_control_command *commands, unsigned int count)
{
	struct devmodel_ring *ring = &dev->control;
	unsigned int done = 0, batch, i;
	int ret = 0, idx;

	if (!devmodel_enter(dev, &idx))
		return -EIO;
	mutex_lock(&dev->control_lock);
	while (done < count && !ret) {
		u64 first = ring->index;

		batch = min(count - done, ring->entries);
		for (i = 0; i < batch && !devmodel_is_lost(dev); i++) {
			commands[done + i].status = DEVMODEL_STATUS_PENDING;
			devmodel_ring_produce(dev, ring, &commands[done + i]);
		}
		ret = devmodel_is_lost(dev) ? -EIO : control_wait(dev, ring->index);
		for (i = 0; i < batch && !ret; i++) {
			struct devmodel_control_command *slot = ring->slots;

			slot += (first + i) & (ring->entries - 1);
			commands[done + i].status = READ_ONCE(slot->status);
		}
		done += batch;
	}
	mutex_unlock(&dev->control_lock);
	devmodel_exit(dev, idx);
	return ret;
}

/**
 * devmodel_control_one() - have one command done
 * @dev: the device
 * @command: the command
 *
 * Return: 0, -EIO if the device is lost, -EPROTO if it refused the command.
 */
int devmodel_control_one(struct devmodel_dev *dev,
			 const struct devmodel_control_command *command)
{
	struct devmodel_control_command copy = *command;
	int ret = devmodel_control(dev, &copy, 1);

	if (ret)
		return ret;
	if (copy.status != DEVMODEL_STATUS_OK) {
		dev_warn_ratelimited(&dev->pdev->dev, "control command %u refused: status %u\n",
				     copy.opcode, copy.status);
		return -EPROTO;
	}
	return 0;
}
