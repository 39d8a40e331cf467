// SPDX-License-Identifier: GPL-2.0
/*
 * The device's DMA engine: lists of frames to copy or to fill, by bus address.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "aside.h"
#include "completion.h"
#include "copy.h"
#include "device.h"
#include "state.h"

/**
 * devmodel_copy_list_new() - room for a list
 * @capacity: entries at most
 *
 * Physically contiguous, as the device reads it in one piece.
 *
 * Return: an empty list, or NULL.
 */
struct devmodel_copy_list *devmodel_copy_list_new(unsigned int capacity)
{
	struct devmodel_copy_list *list;
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP,
					get_order(struct_size(list, entry, capacity)));

	if (!page)
		return NULL;
	list = page_address(page);
	list->count = 0;
	return list;
}

void devmodel_copy_list_free(struct devmodel_copy_list *list)
{
	if (list)
		put_page(virt_to_page(list));
}

/* Append; the caller keeps to the capacity. Return: the entry's index. */
unsigned int devmodel_copy_add(struct devmodel_copy_list *list, u64 src, u64 dst,
			       u32 length)
{
	list->entry[list->count] = (struct devmodel_copy_entry) {
		.src = src,
		.dst = dst,
		.length = length,
		.status = DEVMODEL_STATUS_PENDING,
	};
	return list->count++;
}

static int copy_submit(struct devmodel_dev *dev, const struct devmodel_copy_command *command,
		       struct devmodel_pending *pending)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;
	unsigned long flags;
	bool sent;

	for (;;) {
		spin_lock_irqsave(&dev->submit_lock, flags);
		sent = devmodel_submit(dev, &dev->copy_ring, command, pending);
		spin_unlock_irqrestore(&dev->submit_lock, flags);
		if (sent)
			return 0;
		if (devmodel_is_lost(dev))
			return -EIO;
		if (time_after(jiffies, deadline)) {
			devmodel_lost(dev, "its copy ring stays full");
			return -EIO;
		}
		usleep_range(50, 200);
	}
}

/**
 * devmodel_copy_run() - run a list and wait for its end
 * @dev: the device
 * @op: copy, or fill with zeros
 * @list: the list; each entry has its status afterwards. If the device is lost
 *	the list is not ours any more (the device may still write to it), and
 *	@list becomes NULL.
 *
 * Return: 0 (look at each status) or a negative errno.
 */
int devmodel_copy_run(struct devmodel_dev *dev, enum devmodel_copy op,
		      struct devmodel_copy_list **list)
{
	struct devmodel_copy_command command = { .opcode = op, .count = (*list)->count };
	struct devmodel_pending *pending;
	int ret, idx;

	if (!command.count)
		return 0;
	if (devmodel_is_lost(dev) || !devmodel_enter(dev, &idx))
		return -EIO;
	pending = devmodel_pending_new(dev);
	if (!pending) {
		ret = -ENOMEM;
		goto out;
	}
	command.cookie = pending->cookie;
	command.list = virt_to_phys((*list)->entry);
	ret = copy_submit(dev, &command, pending);
	if (!ret) {
		ret = devmodel_pending_wait(dev, pending, DEVMODEL_TIMEOUT, false);
		if (ret == -ETIME)
			devmodel_lost(dev, "no end of a copy");
		if (ret) {
			devmodel_put_page(dev, virt_to_page(*list));
			*list = NULL;
			ret = -EIO;
		}
	}
	devmodel_pending_forget(dev, pending);
	devmodel_pending_put(pending);
out:
	devmodel_exit(dev, idx);
	return ret;
}
