// SPDX-License-Identifier: GPL-2.0
/*
 * A device: made, and let go by whoever uses it last.
 */
#include <linux/pci.h>
#include <linux/slab.h>

#include "completion.h"
#include "device.h"

/**
 * devmodel_dev_new() - a device that nobody uses yet
 * @pdev: its PCI function
 *
 * Return: one reference, for devmodel_dev_put(), or NULL: no memory.
 */
struct devmodel_dev *devmodel_dev_new(struct pci_dev *pdev)
{
	struct devmodel_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	if (init_srcu_struct(&dev->alive)) {
		kfree(dev);
		return NULL;
	}
	dev->pdev = pdev;
	kref_init(&dev->ref);
	mutex_init(&dev->control_lock);
	mutex_init(&dev->mirrors_lock);
	spin_lock_init(&dev->devmem.lock);
	mutex_init(&dev->devmem.clock_lock);
	init_waitqueue_head(&dev->devmem.empty);
	spin_lock_init(&dev->submit_lock);
	spin_lock_init(&dev->trace_lock);
	devmodel_completion_init(dev);
	xa_init_flags(&dev->mirrors, XA_FLAGS_ALLOC1);
	xa_init_flags(&dev->aside, XA_FLAGS_ALLOC);
	init_waitqueue_head(&dev->fault_wait);
	init_waitqueue_head(&dev->back);
	dev->generation = 1;
	return dev;
}

/* The last reference: the PCI binding is gone and every file is closed. */
static void dev_release(struct kref *ref)
{
	struct devmodel_dev *dev = container_of(ref, struct devmodel_dev, ref);

	cleanup_srcu_struct(&dev->alive);
	xa_destroy(&dev->waiting);
	xa_destroy(&dev->mirrors);
	xa_destroy(&dev->aside);
	kfree(dev);
}

void devmodel_dev_put(struct devmodel_dev *dev)
{
	kref_put(&dev->ref, dev_release);
}
