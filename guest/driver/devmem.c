// SPDX-License-Identifier: GPL-2.0
/*
 * HBM as struct pages: DEVICE_PRIVATE, where the CPU cannot address it and the
 * pages' physical addresses are a reserved range with nothing behind it, or
 * DEVICE_COHERENT, where they are the HBM window of BAR 2.
 *
 * Either way frame N of the pagemap is HBM offset N * PAGE_SIZE.
 */
#include <linux/ioport.h>

#include "devmodel.h"
#include "trace.h"

static void devmem_free(DEVMODEL_FREED *freed)
{
	struct page *page = devmodel_freed_page(freed);
	struct devmodel_dev *dev = page_pgmap(page)->owner;
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags;

	spin_lock_irqsave(&devmem->lock, flags);
	page->zone_device_data = devmem->free;
	devmem->free = page;
	devmem->in_use--;
	spin_unlock_irqrestore(&devmem->lock, flags);
}

static const struct dev_pagemap_ops devmem_ops = {
	.DEVMODEL_PAGE_FREE = devmem_free,
	.migrate_to_ram = devmodel_migrate_to_ram,
};

static unsigned long devmem_first_pfn(struct devmodel_dev *dev)
{
	return dev->devmem.pagemap.range.start >> PAGE_SHIFT;
}

/**
 * devmodel_frame_alloc() - take a free frame of HBM
 * @dev: the device
 *
 * Return: a locked page with one reference, or NULL: HBM is full or going away.
 */
struct page *devmodel_frame_alloc(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long flags;
	struct page *page;

	if (READ_ONCE(dev->gone))
		return NULL;
	spin_lock_irqsave(&devmem->lock, flags);
	page = devmem->free;
	if (page) {
		devmem->free = page->zone_device_data;
		devmem->in_use++;
	}
	spin_unlock_irqrestore(&devmem->lock, flags);
	if (page) {
		devmodel_page_init(page, &devmem->pagemap);
		page->zone_device_data = NULL;
	}
	return page;
}

/* Give back a frame that was allocated and not used. */
void devmodel_frame_unused(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/* Does this page lie in this device's HBM? */
bool devmodel_is_hbm(struct devmodel_dev *dev, struct page *page)
{
	return dev->devmem.ready && is_zone_device_page(page) &&
	       page_pgmap(page) == &dev->devmem.pagemap;
}

/* The devices by their number in the machine, which names their HBM on the bus. */
static struct devmodel_dev *peers[DEVMODEL_PEERS];

/**
 * devmodel_owner() - whose HBM a page lies in
 * @page: any page
 *
 * Return: the device, or NULL for memory that is no devmodel device's.
 */
struct devmodel_dev *devmodel_owner(struct page *page)
{
	if (!is_zone_device_page(page) || page_pgmap(page)->ops != &devmem_ops)
		return NULL;
	return page_pgmap(page)->owner;
}

/* Can this device reach the page: system memory, its own HBM, or that of a peer? */
bool devmodel_reaches(struct devmodel_dev *dev, struct page *page)
{
	struct devmodel_dev *owner = devmodel_owner(page);

	if (!is_zone_device_page(page) || owner == dev)
		return true;
	return owner && owner->number < DEVMODEL_PEERS;
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
				  DEVMODEL_APERTURE_PEER0 + owner->number;
	return ((u64)(page_to_pfn(page) - devmem_first_pfn(owner)) << PAGE_SHIFT) |
	       aperture << DEVMODEL_PTE_APERTURE_SHIFT;
}

/**
 * devmodel_bus_page() - the page at a bus address
 * @dev: the device
 * @bus: from a page table entry, which only this driver writes
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
		pfn += devmem_first_pfn(owner);
	return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;
}

static int devmem_range(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	u64 size = dev->regs->hbm_size, offset = dev->regs->hbm_offset;
	struct range *range = &devmem->pagemap.range;

	if (dev->model == DEVMODEL_MODEL_PRIVATE) {
		/* An address range for the struct pages alone; no HBM answers there. */
		devmem->resource = request_free_mem_region(&iomem_resource, size,
							   "devmodel private pages");
		if (IS_ERR(devmem->resource))
			return PTR_ERR(devmem->resource);
		range->start = devmem->resource->start;
		range->end = devmem->resource->end;
		devmem->pagemap.type = MEMORY_DEVICE_PRIVATE;
		return 0;
	}
	if (!offset || offset + size > pci_resource_len(dev->pdev, 2)) {
		dev_err(&dev->pdev->dev,
			"model=coherent needs HBM in BAR 2; this device was started without\n");
		return -ENODEV;
	}
	range->start = pci_resource_start(dev->pdev, 2) + offset;
	range->end = range->start + size - 1;
	devmem->pagemap.type = MEMORY_DEVICE_COHERENT;
	return 0;
}

static void devmem_free_range(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;

	if (devmem->resource)
		release_mem_region(devmem->resource->start, resource_size(devmem->resource));
	devmem->resource = NULL;
}

/**
 * devmodel_devmem_init() - make struct pages for the HBM
 * @dev: the device; its model is chosen
 *
 * Return: 0, also where the model has no device memory, or a negative errno.
 */
int devmodel_devmem_init(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long first, count, i;
	void *ret;
	int err;

	spin_lock_init(&devmem->lock);
	if (dev->model == DEVMODEL_MODEL_MIRROR)
		return 0;
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		dev_err(&dev->pdev->dev,
			"this kernel has no CONFIG_DEVICE_PRIVATE: only model=mirror works on it\n");
		return -EOPNOTSUPP;
	}
	if (!IS_ALIGNED(dev->regs->hbm_size, SZ_2M) || !dev->regs->hbm_size) {
		dev_err(&dev->pdev->dev, "HBM of %llu bytes: must be a multiple of 2 MiB\n",
			dev->regs->hbm_size);
		return -EINVAL;
	}
	err = devmem_range(dev);
	if (err)
		return err;
	devmem->pagemap.nr_range = 1;
	devmem->pagemap.ops = &devmem_ops;
	devmem->pagemap.owner = dev;
	ret = memremap_pages(&devmem->pagemap, dev_to_node(&dev->pdev->dev));
	if (IS_ERR(ret)) {
		devmem_free_range(dev);
		return PTR_ERR(ret);
	}
	first = devmem_first_pfn(dev);
	count = range_len(&devmem->pagemap.range) >> PAGE_SHIFT;
	for (i = count; i-- > 0;) {
		struct page *page = pfn_to_page(first + i);

		page->zone_device_data = devmem->free;
		devmem->free = page;
	}
	devmem->ready = true;
	if (dev->number < DEVMODEL_PEERS)
		WRITE_ONCE(peers[dev->number], dev);
	return 0;
}

/* Take the struct pages away again. All pages have been migrated out. */
void devmodel_devmem_fini(struct devmodel_dev *dev)
{
	if (!dev->devmem.ready)
		return;
	if (dev->number < DEVMODEL_PEERS)
		WRITE_ONCE(peers[dev->number], NULL);
	memunmap_pages(&dev->devmem.pagemap);
	dev->devmem.ready = false;
	devmem_free_range(dev);
}
