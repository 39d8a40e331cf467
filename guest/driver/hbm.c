// SPDX-License-Identifier: GPL-2.0
/*
 * HBM as all see it: its frames, given out and taken back; whose a page is, and how
 * a device addresses it; the devices that have some.
 *
 * Frames are given out singly, or as many as a huge page has, aligned like one:
 * any frames that are free will do. When the kernel splits a huge page of ours
 * it needs nothing from us, as we keep nothing about it in its struct pages.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/xarray.h>

#include "compat.h"
#include "device.h"
#include "hbm.h"
#include "node.h"
#include "oracle.h"
#include "state.h"

static u64 bus_in(struct devmodel_dev *owner, struct page *page, u64 aperture)
{
	return ((u64)(page_to_pfn(page) - devmodel_first_pfn(owner)) << PAGE_SHIFT) |
	       aperture << DEVMODEL_PTE_APERTURE_SHIFT;
}

/* A page of this device's HBM as it addresses it itself. */
static u64 hbm_bus(struct devmodel_dev *dev, struct page *page)
{
	return bus_in(dev, page, DEVMODEL_APERTURE_HBM);
}

/* Said to whoever looks at the region from outside: the device has no use for it. */
static void tell_use(struct devmodel_dev *dev)
{
	lockdep_assert_held(&dev->devmem.lock);
	if (dev->driver_regs)
		WRITE_ONCE(dev->driver_regs->hbm_in_use, (u64)dev->devmem.in_use << PAGE_SHIFT);
}

/* Frames without a page: those that failed are not given out again. */
static void retire(struct devmodel_devmem *devmem, unsigned long frame, unsigned long end)
{
	lockdep_assert_held(&devmem->lock);
	for_each_set_bit_from(frame, devmem->bad, end) {
		__set_bit(frame, devmem->used);
		devmem->retired++;
	}
}

/**
 * devmodel_frame_free() - the kernel lets go of a page in HBM
 * @freed: the page
 *
 * What a pagemap of ours is known by, too.
 */
void devmodel_frame_free(DEVMODEL_FREED *freed)
{
	struct page *page = devmodel_freed_page(freed);
	struct devmodel_dev *dev = page_pgmap(page)->owner;
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long frame = page_to_pfn(page) - devmodel_first_pfn(dev);
	unsigned int order = folio_order(page_folio(page));
	unsigned long flags;

	devmodel_oracle_frames(dev, DEVMODEL_TRACE_FRAME_FREE, hbm_bus(dev, page), BIT(order));
	devmodel_undo_compound(page, order);
	spin_lock_irqsave(&devmem->lock, flags);
	if (!WARN_ON_ONCE(!test_bit(frame, devmem->used))) {
		bitmap_clear(devmem->used, frame, BIT(order));
		bitmap_clear(devmem->lost, frame, BIT(order));
		devmem->in_use -= BIT(order);
		tell_use(dev);
		retire(devmem, frame, frame + BIT(order));
	}
	devmem->lowest = min(devmem->lowest, frame);
	/* Under the lock: whoever was waiting for this frame takes all of it away. */
	if (!devmem->in_use)
		wake_up(&devmem->empty);
	spin_unlock_irqrestore(&devmem->lock, flags);
}

/**
 * devmodel_frame_alloc() - take free frames of HBM
 * @dev: the device
 * @order: 0 for one frame, that of a huge page for as many as it has
 *
 * Return: a locked page with one reference, the head of as many as were asked
 * for, or NULL: there are not so many next to each other, or they are going away.
 */
struct page *devmodel_frame_alloc(struct devmodel_dev *dev, unsigned int order)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags, frame, count = BIT(order), i;
	struct page *page;

	if (READ_ONCE(dev->leaving))
		return NULL;
	if (devmodel_is_node(dev))
		return devmodel_node_alloc(dev);
	spin_lock_irqsave(&devmem->lock, flags);
	/* Looked at under the lock: see devmodel_leave(). */
	if (dev->leaving) {
		spin_unlock_irqrestore(&devmem->lock, flags);
		return NULL;
	}
	frame = bitmap_find_next_zero_area(devmem->used, devmem->frames, devmem->lowest,
					   count, count - 1);
	if (!order)
		devmem->lowest = min(frame + 1, devmem->frames);
	if (frame < devmem->frames) {
		bitmap_set(devmem->used, frame, count);
		devmem->in_use += count;
		tell_use(dev);
	}
	spin_unlock_irqrestore(&devmem->lock, flags);
	if (frame >= devmem->frames)
		return NULL;
	/* Its last page's past is not its own. */
	for (i = 0; i < count; i++)
		clear_bit(frame + i, devmem->young);
	page = pfn_to_page(devmodel_first_pfn(dev) + frame);
	devmodel_page_init(page, &devmem->pagemap, order);
	devmodel_oracle_frames(dev, DEVMODEL_TRACE_FRAME_ALLOC, hbm_bus(dev, page), count);
	page->zone_device_data = NULL;
	return page;
}

/* Give back a frame that was allocated and not used. */
void devmodel_frame_unused(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/**
 * devmodel_frame_condemn() - a frame is never to be given out again
 * @dev: a device whose HBM is no node
 * @frame: its number
 * @holds_page: set if it holds a page still, whose bytes are lost from now on
 *
 * Return: false if that is no news.
 */
bool devmodel_frame_condemn(struct devmodel_dev *dev, unsigned long frame, bool *holds_page)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags;
	bool news = false;

	spin_lock_irqsave(&devmem->lock, flags);
	/* Nobody waits for who calls this; what is not ready has no frames. */
	if (devmem->ready && frame < devmem->frames)
		news = !__test_and_set_bit(frame, devmem->bad);
	if (news) {
		*holds_page = test_bit(frame, devmem->used);
		if (*holds_page)
			__set_bit(frame, devmem->lost);
		else
			retire(devmem, frame, frame + 1);
	}
	spin_unlock_irqrestore(&devmem->lock, flags);
	return news;
}

/* How many frames are free. */
unsigned long devmodel_hbm_room(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags, room;

	spin_lock_irqsave(&devmem->lock, flags);
	room = devmem->frames - devmem->in_use - devmem->retired;
	spin_unlock_irqrestore(&devmem->lock, flags);
	return room;
}

/* How many frames failed. Of a node the kernel knows. */
unsigned long devmodel_hbm_failed(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags, failed = 0;

	spin_lock_irqsave(&devmem->lock, flags);
	if (devmem->ready && !devmodel_is_node(dev))
		failed = bitmap_weight(devmem->bad, devmem->frames);
	spin_unlock_irqrestore(&devmem->lock, flags);
	return failed;
}

/* How many frames hold a page. */
unsigned long devmodel_hbm_used(struct devmodel_dev *dev)
{
	return devmodel_is_node(dev) ? devmodel_node_used(dev) :
				       READ_ONCE(dev->devmem.in_use);
}

/* Does this page lie in this device's HBM? */
bool devmodel_is_hbm(struct devmodel_dev *dev, struct page *page)
{
	if (devmodel_is_node(dev))
		return devmodel_on_node(&dev->devmem.node, page);
	return dev->devmem.ready && is_zone_device_page(page) &&
	       page_pgmap(page) == &dev->devmem.pagemap;
}

/* The devices by their number in the machine; the HBM of the first few has an aperture. */
static struct devmodel_dev *peers[DEVMODEL_DEVICES];

/**
 * devmodel_owner() - whose HBM a page lies in
 * @page: any page
 *
 * Return: the device, or NULL for memory that is no devmodel device's.
 */
struct devmodel_dev *devmodel_owner(struct page *page)
{
	unsigned int i;

	if (is_zone_device_page(page)) {
		const struct dev_pagemap *pagemap = page_pgmap(page);

		return pagemap->ops && pagemap->ops->DEVMODEL_PAGE_FREE == devmodel_frame_free ?
			pagemap->owner : NULL;
	}
	for (i = 0; i < DEVMODEL_DEVICES; i++) {
		struct devmodel_dev *dev = READ_ONCE(peers[i]);

		if (dev && devmodel_is_node(dev) && devmodel_on_node(&dev->devmem.node, page))
			return dev;
	}
	return NULL;
}

/* Can this device reach the page: system memory, its own HBM, or that of a peer? */
bool devmodel_reaches(struct devmodel_dev *dev, struct page *page)
{
	struct devmodel_dev *owner = devmodel_owner(page);

	return !is_zone_device_page(page) || (owner && devmodel_reaches_hbm(dev, owner));
}

/* Can this device reach another one's HBM? There are only so many apertures. */
bool devmodel_reaches_hbm(struct devmodel_dev *dev, struct devmodel_dev *peer)
{
	return peer == dev || peer->identity.number < DEVMODEL_PEERS;
}

/* All devices with HBM, by their id and 1. */
static DEFINE_XARRAY(devices);

static struct devmodel_dev *peer_next(unsigned long *id)
{
	struct devmodel_dev *peer;

	/* A device that is in there has a reference. */
	xa_lock(&devices);
	peer = xa_find_after(&devices, id, ULONG_MAX, XA_PRESENT);
	if (peer)
		kref_get(&peer->ref);
	xa_unlock(&devices);
	return peer;
}

/**
 * devmodel_peers_visit() - go through the other devices that hold pages
 * @dev: the device
 * @visit: called for each; the device cannot go away meanwhile; an error is the end
 * @data: for @visit
 *
 * Return: 0, or what @visit returned.
 */
int devmodel_peers_visit(struct devmodel_dev *dev,
			 int (*visit)(struct devmodel_dev *peer, void *data), void *data)
{
	struct devmodel_dev *peer;
	unsigned long id = 0;
	int ret = 0;

	while (!ret && (peer = peer_next(&id))) {
		int idx;

		if (peer != dev && devmodel_enter(peer, &idx)) {
			if (!READ_ONCE(peer->leaving) &&
			    (devmodel_is_node(peer) || READ_ONCE(peer->devmem.in_use)))
				ret = visit(peer, data);
			devmodel_exit(peer, idx);
		}
		devmodel_dev_put(peer);
	}
	return ret;
}

/**
 * devmodel_bus_address() - a page as the device addresses it
 * @dev: the device
 * @page: one that devmodel_reaches()
 *
 * Return: aperture and offset, as page table entries and copy lists hold them.
 */
u64 devmodel_bus_address(struct devmodel_dev *dev, struct page *page)
{
	struct devmodel_dev *owner = devmodel_owner(page);
	u64 aperture;

	if (!owner)
		return page_to_phys(page);
	aperture = owner == dev ? DEVMODEL_APERTURE_HBM :
				  DEVMODEL_APERTURE_PEER0 + owner->identity.number;
	return bus_in(owner, page, aperture);
}

/**
 * devmodel_bus_page() - the page at a bus address
 * @dev: the device
 * @bus: a page table entry, which only this driver writes, or the address in it
 *
 * Return: the page, or NULL.
 */
struct page *devmodel_bus_page(struct devmodel_dev *dev, u64 bus)
{
	unsigned long pfn = (bus & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT;
	u64 aperture = (bus & DEVMODEL_PTE_APERTURE) >> DEVMODEL_PTE_APERTURE_SHIFT;
	struct devmodel_dev *owner = dev;

	/* A peer that goes away brings its pages home first, and so takes this entry. */
	if (aperture >= DEVMODEL_APERTURE_PEER0)
		owner = READ_ONCE(peers[aperture - DEVMODEL_APERTURE_PEER0]);
	if (!owner)
		return NULL;
	if (aperture != DEVMODEL_APERTURE_SYSTEM)
		pfn += devmodel_first_pfn(owner);
	return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;
}

/**
 * devmodel_hbm_show() - let other devices find this one's HBM
 * @dev: the device
 *
 * Return: 0 or -ENOMEM.
 */
int devmodel_hbm_show(struct devmodel_dev *dev)
{
	int ret = xa_err(xa_store(&devices, dev->id + 1, dev, GFP_KERNEL));

	if (!ret)
		WRITE_ONCE(peers[dev->identity.number], dev);
	return ret;
}

/* Other devices do not find this one's HBM any more. */
void devmodel_hbm_hide(struct devmodel_dev *dev)
{
	cmpxchg(&peers[dev->identity.number], dev, NULL);
	xa_cmpxchg(&devices, dev->id + 1, dev, NULL, GFP_KERNEL);
}
