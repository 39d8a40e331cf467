// SPDX-License-Identifier: GPL-2.0
/*
 * HBM as struct pages: DEVICE_PRIVATE, where the CPU cannot address it and the
 * pages' physical addresses are a reserved range with nothing behind it, or
 * DEVICE_COHERENT, where they are the HBM window of BAR 2.
 *
 * Either way frame N of the pagemap is HBM offset N * PAGE_SIZE.
 */
#include <linux/bitmap.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "compat.h"
#include "devmem.h"
#include "device.h"
#include "hbm.h"
#include "loss.h"
#include "node.h"
#include "touch.h"

/* The kernel was told that memory failed. What becomes of who uses it, it leaves to us. */
static int memory_failed(struct dev_pagemap *pagemap, unsigned long pfn, unsigned long pages,
			 int flags)
{
	struct devmodel_dev *dev = pagemap->owner;

	while (pages--)
		devmodel_frame_failed(dev, pfn++ - devmodel_first_pfn(dev));
	flush_delayed_work(&dev->devmem.lost_work);
	return 0;
}

static const struct dev_pagemap_ops devmem_ops = {
	.DEVMODEL_PAGE_FREE = devmodel_frame_free,
	.migrate_to_ram = devmodel_migrate_to_ram,
	.memory_failure = memory_failed,
};

static int devmem_range(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	u64 size = dev->identity.hbm_size, offset = dev->identity.hbm_offset;
	struct range *range = &devmem->pagemap.range;

	if (dev->model == DEVMODEL_MODEL_PRIVATE) {
		/* An address range for the struct pages alone; no HBM answers there. */
		devmem->resource = request_free_mem_region(&iomem_resource, size,
							   "devmodel private pages");
		if (IS_ERR(devmem->resource))
			return PTR_ERR(devmem->resource);
		range->start = devmem->resource->start;
		/* Not to the resource's end: that is rounded up to a memory section. */
		range->end = range->start + size - 1;
		devmem->pagemap.type = MEMORY_DEVICE_PRIVATE;
		return 0;
	}
	if (!offset) {
		dev_err(&dev->pdev->dev,
			"model=coherent needs HBM in BAR 2; this device was started without\n");
		return -ENODEV;
	}
	range->start = pci_resource_start(dev->pdev, 2) + offset;
	range->end = range->start + size - 1;
	devmem->pagemap.type = MEMORY_DEVICE_COHERENT;
	return 0;
}

/**
 * devmodel_devmem_is_held() - did the driver before have to leave pages behind?
 * @dev: the device; its model is chosen
 *
 * Then the device is not to be reset either, as that may empty its HBM.
 */
bool devmodel_devmem_is_held(struct devmodel_dev *dev)
{
	u64 start = pci_resource_start(dev->pdev, 2) + dev->identity.hbm_offset;

	return dev->model == DEVMODEL_MODEL_COHERENT && dev->identity.hbm_offset &&
	       pfn_valid(PHYS_PFN(start));
}

static void devmem_free_range(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;

	if (devmem->resource)
		release_mem_region(devmem->resource->start, resource_size(devmem->resource));
	devmem->resource = NULL;
}

/* A bit for each frame, four times: one allocation. */
static int devmem_maps(struct devmodel_devmem *devmem)
{
	unsigned long longs = BITS_TO_LONGS(devmem->frames);

	devmem->used = kvcalloc(4 * longs, sizeof(long), GFP_KERNEL);
	if (!devmem->used)
		return -ENOMEM;
	devmem->young = devmem->used + longs;
	devmem->lost = devmem->young + longs;
	devmem->bad = devmem->lost + longs;
	return 0;
}

static void devmem_free_maps(struct devmodel_devmem *devmem)
{
	kvfree(devmem->used);
	devmem->used = NULL;
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
	void *ret;
	int err;

	if (dev->model == DEVMODEL_MODEL_MIRROR)
		return 0;
	if (devmodel_is_node(dev)) {
		err = devmodel_node_add(dev);
		if (err)
			return err;
		goto ready;
	}
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		dev_err(&dev->pdev->dev,
			"this kernel has no CONFIG_DEVICE_PRIVATE: only model=mirror works on it\n");
		return -EOPNOTSUPP;
	}
	if (!IS_ALIGNED(dev->identity.hbm_size, SZ_2M) || !dev->identity.hbm_size) {
		dev_err(&dev->pdev->dev, "HBM of %llu bytes: must be a multiple of 2 MiB\n",
			dev->identity.hbm_size);
		return -EINVAL;
	}
	devmem->frames = dev->identity.hbm_size >> PAGE_SHIFT;
	err = devmem_maps(devmem);
	if (!err)
		err = devmem_range(dev);
	if (err)
		goto err_maps;
	devmem->pagemap.nr_range = 1;
	devmem->pagemap.ops = &devmem_ops;
	devmem->pagemap.owner = dev;
	ret = memremap_pages(&devmem->pagemap, dev_to_node(&dev->pdev->dev));
	if (IS_ERR(ret)) {
		err = PTR_ERR(ret);
		goto err_range;
	}
ready:
	devmem->ready = true;
	err = devmodel_hbm_show(dev);
	if (err)
		devmodel_devmem_fini(dev);
	return err;

err_range:
	devmem_free_range(dev);
err_maps:
	devmem_free_maps(devmem);
	return err;
}

/* Take the struct pages away again. All pages have been migrated out. */
void devmodel_devmem_fini(struct devmodel_dev *dev)
{
	if (!dev->devmem.ready)
		return;
	devmodel_hbm_hide(dev);
	/* Who goes through the frames holds the one, who says that one failed the other. */
	mutex_lock(&dev->devmem.clock_lock);
	spin_lock_irq(&dev->devmem.lock);
	dev->devmem.ready = false;
	spin_unlock_irq(&dev->devmem.lock);
	mutex_unlock(&dev->devmem.clock_lock);
	if (devmodel_is_node(dev))
		return;
	cancel_delayed_work_sync(&dev->devmem.lost_work);
	memunmap_pages(&dev->devmem.pagemap);
	devmem_free_range(dev);
	devmem_free_maps(&dev->devmem);
}
