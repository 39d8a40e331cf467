// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device which was given up may still write to: copy lists and
 * their destinations, tables, pages that it had mapped. It is nobody else's
 * until the device can do no harm any more, see devmodel_may_write().
 */
#include "aside.h"
#include "device.h"
#include "state.h"

/**
 * devmodel_put_page() - let go of a page that the device was given
 * @dev: the device
 * @page: the caller's reference to it, of whatever order
 *
 * At once, or once the device cannot write any more. Any context that may free.
 */
void devmodel_put_page(struct devmodel_dev *dev, struct page *page)
{
	u32 id;

	if (!devmodel_may_write(dev)) {
		put_page(page);
		return;
	}
	atomic64_add(BIT(compound_order(page)), &dev->stats.pages_aside);
	/* No room to remember it: it stays aside for good, which is safe. */
	if (xa_alloc(&dev->aside, &id, page, xa_limit_32b, GFP_NOWAIT | __GFP_NOWARN))
		dev_warn_ratelimited(&dev->pdev->dev, "a page is kept aside for good\n");
}

/**
 * devmodel_hold_page() - the device loses a page that it had mapped
 * @dev: the device
 * @page: a page that somebody else has a reference to
 */
void devmodel_hold_page(struct devmodel_dev *dev, struct page *page)
{
	/* Frames of a pagemap are given out by this driver, and not to a lost device. */
	if (is_zone_device_page(page) || !devmodel_may_write(dev))
		return;
	page = compound_head(page);
	get_page(page);
	devmodel_put_page(dev, page);
}

/**
 * devmodel_aside_end() - give back what was kept aside, if that is safe by now
 * @dev: the device
 *
 * Return: whether nothing is aside any more.
 */
bool devmodel_aside_end(struct devmodel_dev *dev)
{
	unsigned long id, pages;
	struct page *page;

	if (xa_empty(&dev->aside))
		return true;
	if (devmodel_may_write(dev))
		return false;
	xa_for_each(&dev->aside, id, page) {
		pages = BIT(compound_order(page));
		xa_erase(&dev->aside, id);
		put_page(page);
		atomic64_sub(pages, &dev->stats.pages_aside);
		cond_resched();
	}
	return true;
}
