// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI function: identification, bring-up, removal.
 */
#include <linux/debugfs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "aside.h"
#include "completion.h"
#include "devmem.h"
#include "device.h"
#include "evict.h"
#include "fault_buffer.h"
#include "fault_queue.h"
#include "hbm.h"
#include "identity.h"
#include "loss.h"
#include "node.h"
#include "notifier.h"
#include "oracle.h"
#include "poison.h"
#include "ring.h"
#include "state.h"
#include "stats.h"
#include "uapi.h"

static bool offer_dmirror;
module_param_named(dmirror, offer_dmirror, bool, 0444);
MODULE_PARM_DESC(dmirror, "offer /dev/hmm_dmirrorN, the interface of the kernel's own HMM tests");

static DEFINE_IDA(ids);

static irqreturn_t on_completion(int irq, void *data)
{
	return devmodel_completions(data) ? IRQ_WAKE_THREAD : IRQ_HANDLED;
}

/* More than is to be done in an interrupt. */
static irqreturn_t more_completions(int irq, void *data)
{
	while (devmodel_completions(data))
		cond_resched();
	return IRQ_HANDLED;
}

static irqreturn_t on_fault(int irq, void *data)
{
	struct devmodel_dev *dev = data;

	wake_up(&dev->fault_wait);
	return IRQ_HANDLED;
}

static int map_rings(struct devmodel_dev *dev)
{
	const struct devmodel_device_regs *regs = &dev->identity;
	int ret;

	ret = devmodel_ring_init(dev, &dev->control, regs->control_offset,
				 regs->control_entries,
				 sizeof(struct devmodel_control_command));
	if (!ret)
		ret = devmodel_ring_init(dev, &dev->copy_ring, regs->copy_offset,
					 regs->copy_entries,
					 sizeof(struct devmodel_copy_command));
	if (!ret)
		ret = devmodel_ring_init(dev, &dev->compute_ring, regs->compute_offset,
					 regs->compute_entries,
					 sizeof(struct devmodel_compute_command));
	if (!ret)
		ret = devmodel_ring_init(dev, &dev->completion_ring,
					 regs->completion_offset, regs->completion_entries,
					 sizeof(struct devmodel_completion));
	if (!ret)
		ret = devmodel_ring_init(dev, &dev->fault_ring, regs->fault_offset,
					 regs->fault_entries,
					 sizeof(struct devmodel_fault_record));
	if (!ret && (regs->features & DEVMODEL_FEATURE_TRACE))
		ret = devmodel_ring_init(dev, &dev->trace_ring, regs->trace_offset,
					 regs->trace_entries,
					 sizeof(struct devmodel_trace_record));
	return ret;
}

static int map_bars(struct devmodel_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;

	if (pci_resource_len(pdev, 2) < DEVMODEL_CONTROL_REGION) {
		dev_info(&pdev->dev, "an ivshmem device, but not devmodel: BAR 2 is too small\n");
		return -ENODEV;
	}
	dev->doorbell = pci_iomap(pdev, 0, 0);
	if (!dev->doorbell)
		return -ENOMEM;
	dev->doorbell += DEVMODEL_IVSHMEM_DOORBELL;
	/* Shared memory, not registers: cached, like the other side's mapping. */
	dev->region = memremap(pci_resource_start(pdev, 2), DEVMODEL_CONTROL_REGION,
			       MEMREMAP_WB);
	if (!dev->region) {
		pci_iounmap(pdev, dev->doorbell - DEVMODEL_IVSHMEM_DOORBELL);
		return -ENOMEM;
	}
	dev->regs = dev->region + DEVMODEL_DEVICE_PAGE;
	dev->driver_regs = dev->region + DEVMODEL_DRIVER_PAGE;
	/* What an earlier driver said. */
	WRITE_ONCE(dev->driver_regs->hbm_in_use, 0);
	dev->counters = dev->region + DEVMODEL_COUNTER_PAGE;
	return 0;
}

static void unmap_bars(struct devmodel_dev *dev)
{
	/* Pages that somebody holds on to are given back later: see leave_behind(). */
	spin_lock_irq(&dev->devmem.lock);
	dev->driver_regs = NULL;
	spin_unlock_irq(&dev->devmem.lock);
	memunmap(dev->region);
	pci_iounmap(dev->pdev, dev->doorbell - DEVMODEL_IVSHMEM_DOORBELL);
}

static int irqs_init(struct devmodel_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, DEVMODEL_VECTORS, DEVMODEL_VECTORS, PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	ret = pci_request_irq(pdev, DEVMODEL_VECTOR_COMPLETION, on_completion,
			      more_completions, dev, "%s-completion", dev->name);
	if (ret)
		goto err_vectors;
	ret = pci_request_irq(pdev, DEVMODEL_VECTOR_FAULT, on_fault, NULL, dev,
			      "%s-fault", dev->name);
	if (ret)
		goto err_completion;
	return 0;

err_completion:
	pci_free_irq(pdev, DEVMODEL_VECTOR_COMPLETION, dev);
err_vectors:
	pci_free_irq_vectors(pdev);
	return ret;
}

static void irqs_fini(struct devmodel_dev *dev)
{
	pci_free_irq(dev->pdev, DEVMODEL_VECTOR_FAULT, dev);
	pci_free_irq(dev->pdev, DEVMODEL_VECTOR_COMPLETION, dev);
	pci_free_irq_vectors(dev->pdev);
}

static int start_fault_thread(struct devmodel_dev *dev)
{
	dev->fault_thread = kthread_run(devmodel_fault_thread, dev, "%s", dev->name);
	return PTR_ERR_OR_ZERO(dev->fault_thread);
}

static int node_add(struct devmodel_dev *dev, struct miscdevice *node, const char *name,
		    const struct file_operations *fops)
{
	node->minor = MISC_DYNAMIC_MINOR;
	node->name = name;
	node->fops = fops;
	node->mode = 0666;
	node->parent = &dev->pdev->dev;
	return misc_register(node);
}

static int nodes_add(struct devmodel_dev *dev)
{
	int ret;

	ret = node_add(dev, &dev->misc, dev->name, &devmodel_fops);
	if (ret || !offer_dmirror)
		return ret;
	snprintf(dev->dmirror_name, sizeof(dev->dmirror_name), "hmm_dmirror%d", dev->id);
	ret = node_add(dev, &dev->dmirror, dev->dmirror_name, &devmodel_dmirror_fops);
	if (ret)
		misc_deregister(&dev->misc);
	return ret;
}

static void nodes_remove(struct devmodel_dev *dev)
{
	if (offer_dmirror)
		misc_deregister(&dev->dmirror);
	misc_deregister(&dev->misc);
}

/*
 * Bring the pages home. A page may be pinned for a moment, so try for a while.
 * What only a device has that will not come back, is lost: who touches it is to
 * get SIGBUS, and for that neither the device nor its driver has to be there.
 */
static bool empty_hbm(struct devmodel_dev *dev)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT, lost = 0;
	bool late = false;

	if (devmodel_is_node(dev)) {
		/* A node that would not go is memory of the kernel's, and needs no driver. */
		devmodel_node_remove(dev);
		return true;
	}
	while (devmodel_evict_all(dev) && !late) {
		late = time_after(jiffies, deadline);
		if (late)
			devmodel_lost(dev, "removed with pages in HBM");
		if (devmodel_is_lost(dev) && (late || !devmodel_may_return(dev)))
			lost += devmodel_hbm_lose(dev);
		schedule_timeout_uninterruptible(DEVMODEL_LOOK_AGAIN);
	}
	if (lost)
		dev_err(&dev->pdev->dev, "%lu pages could not be brought back and stay lost\n",
			lost);
	return !READ_ONCE(dev->devmem.in_use);
}

static int devmodel_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct devmodel_dev *dev;
	int ret;

	ret = pci_enable_device(pdev);
	if (ret)
		return ret;
	pci_set_master(pdev);
	dev = devmodel_dev_new(pdev);
	if (!dev) {
		ret = -ENOMEM;
		goto err_disable;
	}
	ret = map_bars(dev);
	if (ret)
		goto err_free;
	ret = devmodel_identify(dev);
	if (!ret && devmodel_devmem_is_held(dev)) {
		dev_err(&pdev->dev, "pages in HBM are held on to still\n");
		ret = -EBUSY;
	}
	if (!ret)
		ret = map_rings(dev);
	if (!ret)
		ret = devmodel_reset(dev, dev->identity.generation);
	if (ret)
		goto err_unmap;

	ret = ida_alloc(&ids, GFP_KERNEL);
	if (ret < 0)
		goto err_unmap;
	dev->id = ret;
	snprintf(dev->name, sizeof(dev->name), "devmodel%d", dev->id);
	ret = irqs_init(dev);
	if (ret)
		goto err_id;
	devmodel_completions(dev);
	devmodel_oracle_model(dev);
	INIT_DELAYED_WORK(&dev->devmem.lost_work, devmodel_evict_lost_work);
	ret = devmodel_devmem_init(dev);
	if (ret)
		goto err_irqs;
	/* From here on what the device says of its frames is listened to. */
	ret = start_fault_thread(dev);
	if (ret)
		goto err_devmem;
	ret = nodes_add(dev);
	if (ret)
		goto err_thread;
	devmodel_debugfs_add(dev);
	pci_set_drvdata(pdev, dev);
	dev_info(&pdev->dev, "%s: model %s, %llu MiB of HBM\n", dev->name,
		 devmodel_model_name(dev), dev->devmem.ready ? dev->identity.hbm_size >> 20 : 0);
	return 0;

err_thread:
	/* One of two nodes was there, and may have been opened. */
	devmodel_leave(dev);
	devmodel_mirrors_stop(dev);
	empty_hbm(dev);
	kthread_stop(dev->fault_thread);
	goto err_ready;
err_devmem:
	devmodel_leave(dev);
	empty_hbm(dev);
err_ready:
	devmodel_devmem_fini(dev);
err_irqs:
	irqs_fini(dev);
err_id:
	ida_free(&ids, dev->id);
err_unmap:
	devmodel_gone(dev);
	unmap_bars(dev);
err_free:
	devmodel_dev_put(dev);
err_disable:
	pci_disable_device(pdev);
	return ret;
}

static bool no_pages_left(struct devmodel_dev *dev)
{
	bool none;

	/* Taken so that who let the last one go is through with it. */
	spin_lock_irq(&dev->devmem.lock);
	none = !dev->devmem.in_use;
	spin_unlock_irq(&dev->devmem.lock);
	return none;
}

/* Wait for who holds on to the pages, then take down what was kept for them. */
static void bury(struct devmodel_dev *dev)
{
	/* Who has let go may have them mapped still. */
	while (!wait_event_idle_timeout(dev->devmem.empty, no_pages_left(dev),
					DEVMODEL_LOST_AGAIN))
		devmodel_evict_lost(dev);
	devmodel_devmem_fini(dev);
	pci_dev_put(dev->pdev);
	devmodel_dev_put(dev);
}

static int undertaker(void *data)
{
	bury(data);
	module_put_and_kthread_exit(0);
}

/*
 * Somebody holds on to pages in HBM, as a pipe does that they were spliced into.
 * The struct pages and this module have to stay for as long as he does.
 */
static void leave_behind(struct devmodel_dev *dev)
{
	dev_err(&dev->pdev->dev, "%lu pages in HBM are held on to, and stay\n",
		dev->devmem.in_use);
	devmodel_hbm_hide(dev);
	pci_dev_get(dev->pdev);
	kref_get(&dev->ref);
	if (!try_module_get(THIS_MODULE)) {
		/* It is being unloaded, which nobody can stop any more. */
		dev_err(&dev->pdev->dev, "unloading waits for who holds on to them\n");
		bury(dev);
	} else if (IS_ERR(kthread_run(undertaker, dev, "%s-held", dev->name))) {
		dev_err(&dev->pdev->dev, "no thread to wait for them: they stay for good\n");
	}
}

/* Nobody can tell any more, once the device is gone, whether it may still write. */
static void settle(struct devmodel_dev *dev)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;

	while (!devmodel_aside_end(dev)) {
		if (time_after(jiffies, deadline)) {
			dev_err(&dev->pdev->dev, "%lld pages stay aside for good: the device was not seen to end\n",
				atomic64_read(&dev->stats.pages_aside));
			return;
		}
		schedule_timeout_uninterruptible(DEVMODEL_LOOK_AGAIN);
	}
}

static void devmodel_remove(struct pci_dev *pdev)
{
	struct devmodel_dev *dev = pci_get_drvdata(pdev);
	bool empty;

	debugfs_remove_recursive(dev->debugfs);
	nodes_remove(dev);
	devmodel_leave(dev);
	devmodel_mirrors_stop(dev);
	empty = empty_hbm(dev);
	kthread_stop(dev->fault_thread);
	if (empty)
		devmodel_devmem_fini(dev);
	irqs_fini(dev);
	settle(dev);
	/* The next driver's, from here on. */
	devmodel_gone(dev);
	unmap_bars(dev);
	if (!empty)
		leave_behind(dev);
	ida_free(&ids, dev->id);
	pci_disable_device(pdev);
	devmodel_dev_put(dev);
}

/* The next kernel's memory is not the device's: it forgets all it was given. */
static void devmodel_shutdown(struct pci_dev *pdev)
{
	struct devmodel_dev *dev = pci_get_drvdata(pdev);

	if (!xchg(&dev->lost, true))
		devmodel_reset(dev, dev->identity.generation);
	pci_clear_master(pdev);
}

/* What lies in HBM, and what the device knows, is not kept anywhere. */
static int devmodel_suspend(struct device *device)
{
	dev_err(device, "does not suspend: unload the driver first\n");
	return -EBUSY;
}

static const struct dev_pm_ops devmodel_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(devmodel_suspend, NULL)
};

static const struct pci_device_id devmodel_ids[] = {
	{ PCI_DEVICE(DEVMODEL_PCI_VENDOR, DEVMODEL_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, devmodel_ids);

static struct pci_driver devmodel_driver = {
	.name = "devmodel",
	.id_table = devmodel_ids,
	.probe = devmodel_probe,
	.remove = devmodel_remove,
	.shutdown = devmodel_shutdown,
	.driver.pm = pm_sleep_ptr(&devmodel_pm_ops),
};

static int __init driver_init_module(void)
{
	int ret;

	ret = devmodel_fault_queues_init();
	if (ret)
		return ret;
	devmodel_debugfs_init();
	ret = pci_register_driver(&devmodel_driver);
	if (ret) {
		devmodel_debugfs_exit();
		devmodel_fault_queues_exit();
	}
	return ret;
}

static void __exit driver_exit_module(void)
{
	pci_unregister_driver(&devmodel_driver);
	devmodel_debugfs_exit();
	/* Waits for workers that are about to end; none is at work, or we were not here. */
	devmodel_fault_queues_exit();
	devmodel_poison_exit();
}

module_init(driver_init_module);
module_exit(driver_exit_module);

MODULE_DESCRIPTION("Driver for devmodel, heterogeneous memory you can boot");
MODULE_LICENSE("GPL");
