// SPDX-License-Identifier: GPL-2.0
/*
 * Bytes that HBM has lost: of one frame that failed, or of all, with a device
 * whose HBM does not outlive it.
 *
 * DOC: Loss
 *
 * A page whose bytes are lost is marked first (devmem->lost), under no lock but
 * the frames'. From then on nobody copies it, a CPU's touch is SIGBUS, and the
 * device is given no translation to it (devmodel_mirror_grant() looks under
 * pt_lock). Then it is migrated to a page without bytes (poison.c), which takes
 * away what translations there were, of CPUs and devices, and frees the frame.
 * A page that is busy is tried again, for as long as it takes.
 *
 * On a node the pages are the kernel's, and so is what becomes of them.
 */
#include <linux/bitmap.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>

#include "compat.h"
#include "device.h"
#include "hbm.h"
#include "loss.h"

/* Have the pages of devmem->lost go, unless the device does: then all pages go. */
static void hurry(struct devmodel_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->devmem.lock, flags);
	if (dev->devmem.ready && !dev->leaving)
		mod_delayed_work(system_dfl_wq, &dev->devmem.lost_work, 0);
	spin_unlock_irqrestore(&dev->devmem.lock, flags);
}

/* A page of a node, if there is one and the kernel does not know yet. */
static void node_failed(struct devmodel_dev *dev, unsigned long frame)
{
	struct page *page;

	if (!READ_ONCE(dev->devmem.ready) || frame >= dev->identity.hbm_size >> PAGE_SHIFT)
		return;
	page = pfn_to_online_page(devmodel_first_pfn(dev) + frame);
	if (page && !PageHWPoison(page))
		memory_failure_queue(page_to_pfn(page), 0);
}

/**
 * devmodel_frame_failed() - a frame of HBM is not to be relied on any more
 * @dev: the device
 * @frame: its number, from whom ever
 *
 * Any context.
 */
void devmodel_frame_failed(struct devmodel_dev *dev, unsigned long frame)
{
	bool holds_page = false;

	if (devmodel_is_node(dev)) {
		node_failed(dev, frame);
		return;
	}
	if (!devmodel_frame_condemn(dev, frame, &holds_page))
		return;
	dev_err_ratelimited(&dev->pdev->dev, "HBM failed at offset %#llx\n",
			    (u64)frame << PAGE_SHIFT);
	if (holds_page)
		hurry(dev);
}

/**
 * devmodel_bus_failed() - the device cannot read a frame
 * @dev: the device
 * @bus: what it says that the frame's address is; not its own HBM's: ignored
 */
void devmodel_bus_failed(struct devmodel_dev *dev, u64 bus)
{
	u64 aperture = (bus & DEVMODEL_PTE_APERTURE) >> DEVMODEL_PTE_APERTURE_SHIFT;

	if (aperture == DEVMODEL_APERTURE_HBM)
		devmodel_frame_failed(dev, (bus & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT);
}

/**
 * devmodel_page_failed() - the device cannot read a page, or cannot write to it
 * @dev: the device that said so
 * @page: in whose HBM ever; not in this device's own: ignored
 * @order: of a huge page the device does not say which frame it was: all of it is
 *	lost, and the frame is found again when it is used by itself
 */
void devmodel_page_failed(struct devmodel_dev *dev, struct page *page, unsigned int order)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags, frame;

	if (!devmodel_is_hbm(dev, page))
		return;
	frame = page_to_pfn(page) - devmodel_first_pfn(dev);
	if (!order) {
		devmodel_frame_failed(dev, frame);
		return;
	}
	spin_lock_irqsave(&devmem->lock, flags);
	bitmap_set(devmem->lost, frame, BIT(order));
	spin_unlock_irqrestore(&devmem->lock, flags);
	hurry(dev);
}

/**
 * devmodel_page_is_lost() - has a page no bytes any more?
 * @page: any page
 * @order: of the page that it is the head of
 *
 * Return: whether it lies in HBM that is no node, and lost some of its bytes.
 */
bool devmodel_page_is_lost(struct page *page, unsigned int order)
{
	struct devmodel_dev *dev;
	unsigned long frame;

	if (!is_zone_device_page(page))
		return false;
	dev = devmodel_owner(page);
	if (!dev)
		return false;
	frame = page_to_pfn(page) - devmodel_first_pfn(dev);
	return find_next_bit(dev->devmem.lost, frame + BIT(order), frame) < frame + BIT(order);
}

/**
 * devmodel_hbm_lose() - all pages in HBM have lost their bytes
 * @dev: a device that is lost, so that nothing is copied to it or from it
 *
 * Return: how many had not before.
 */
unsigned long devmodel_hbm_lose(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags, before, frame;

	if (devmodel_is_node(dev))
		return 0;
	spin_lock_irqsave(&devmem->lock, flags);
	if (!devmem->ready) {
		spin_unlock_irqrestore(&devmem->lock, flags);
		return 0;
	}
	before = bitmap_weight(devmem->lost, devmem->frames);
	/* One that failed and holds a page is lost already. */
	for (frame = 0; frame < BITS_TO_LONGS(devmem->frames); frame++)
		devmem->lost[frame] |= devmem->used[frame] & ~devmem->bad[frame];
	before = bitmap_weight(devmem->lost, devmem->frames) - before;
	spin_unlock_irqrestore(&devmem->lock, flags);
	/* Who waits for the device with a page in his hands need wait no longer. */
	wake_up_all(&dev->back);
	hurry(dev);
	return before;
}
