// SPDX-License-Identifier: GPL-2.0
/*
 * What a device says of itself: read once, checked, and told in plain words where
 * it will not do.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "device.h"
#include "identity.h"
#include "state.h"

static char *model_name = "auto";
module_param_named(model, model_name, charp, 0444);
MODULE_PARM_DESC(model, "memory model: auto (what the machine was configured for), mirror, private, coherent, numa, cdm");

static const char * const models[] = {
	[DEVMODEL_MODEL_MIRROR] = "mirror",
	[DEVMODEL_MODEL_PRIVATE] = "private",
	[DEVMODEL_MODEL_COHERENT] = "coherent",
	[DEVMODEL_MODEL_NUMA] = "numa",
	[DEVMODEL_MODEL_CDM] = "cdm",
};

/* Does the HBM lie where it can be, and may it be so large? */
static int check_hbm(struct devmodel_dev *dev)
{
	u64 size = dev->identity.hbm_size, offset = dev->identity.hbm_offset;
	u64 length = pci_resource_len(dev->pdev, 2);

	if (offset && (offset < DEVMODEL_CONTROL_REGION || offset > length ||
		       size > length - offset)) {
		dev_err(&dev->pdev->dev, "HBM of %llu bytes at %#llx does not lie in BAR 2 of %llu bytes\n",
			size, offset, length);
		return -EPROTO;
	}
	/* What describes it is memory of ours. */
	if (size / PAGE_SIZE > totalram_pages() / 2 * PAGE_SIZE / sizeof(struct page)) {
		dev_err(&dev->pdev->dev, "HBM of %llu bytes: its struct pages would take more than half of the memory\n",
			size);
		return -EPROTO;
	}
	return 0;
}

/* Its agent may just be being started again. */
static void await_ready(struct devmodel_dev *dev)
{
	unsigned long deadline = jiffies + DEVMODEL_TIMEOUT;

	while (READ_ONCE(dev->regs->state) == DEVMODEL_DEVICE_RESTARTING &&
	       time_before(jiffies, deadline) && !fatal_signal_pending(current))
		schedule_timeout_killable(DEVMODEL_LOOK_AGAIN);
}

/*
 * Is it ours, and do both sides mean the same by every byte? What the device
 * says of itself is read here, once, and nowhere again: see state.c.
 */
static int check(struct devmodel_dev *dev)
{
	struct devmodel_device_regs *identity = &dev->identity;
	struct device *log = &dev->pdev->dev;

	await_ready(dev);
	memcpy(identity, dev->regs, sizeof(*identity));
	if (identity->magic != DEVMODEL_MAGIC) {
		dev_info(log, "an ivshmem device, but not devmodel: magic %#llx, not %#llx\n",
			 identity->magic, DEVMODEL_MAGIC);
		return -ENODEV;
	}
	if (identity->abi_major != DEVMODEL_ABI_MAJOR) {
		dev_err(log, "the device speaks ABI %u.%u, this driver %u.%u: load the driver built for this device\n",
			identity->abi_major, identity->abi_minor, DEVMODEL_ABI_MAJOR,
			DEVMODEL_ABI_MINOR);
		return -EPROTO;
	}
	if (identity->layout_hash != DEVMODEL_LAYOUT_HASH) {
		dev_err(log, "the device's layout is %#018llx, this driver's %#018llx: load the driver built for this device\n",
			identity->layout_hash, DEVMODEL_LAYOUT_HASH);
		return -EPROTO;
	}
	if (identity->state != DEVMODEL_DEVICE_READY) {
		dev_err(log, "the device is not ready: state %u, its agent has ended\n",
			identity->state);
		return -EIO;
	}
	if (identity->page_shift != PAGE_SHIFT) {
		dev_err(log, "the device has pages of 2^%u bytes, this kernel of 2^%u\n",
			identity->page_shift, PAGE_SHIFT);
		return -EPROTO;
	}
	if (identity->number >= DEVMODEL_DEVICES) {
		dev_err(log, "the device's number is %u: there are %u at most\n",
			identity->number, DEVMODEL_DEVICES);
		return -EPROTO;
	}
	return check_hbm(dev);
}

static int choose_model(struct devmodel_dev *dev)
{
	u32 model = dev->identity.model;
	int choice;

	if (strcmp(model_name, "auto")) {
		choice = match_string(models, ARRAY_SIZE(models), model_name);
		if (choice < 0) {
			dev_err(&dev->pdev->dev,
				"model=%s: this driver knows auto, mirror, private, coherent, numa and cdm\n",
				model_name);
			return -EINVAL;
		}
		model = choice;
	}
	if (model >= ARRAY_SIZE(models)) {
		dev_err(&dev->pdev->dev,
			"the machine was configured for model %u, which this driver does not know\n",
			model);
		return -EINVAL;
	}
	dev->model = model;
	return 0;
}

/**
 * devmodel_identify() - is it a device of ours, and which memory model is it to have?
 * @dev: the device, its region mapped; @identity and @model are filled in
 *
 * Return: 0, -ENODEV: not ours, -EPROTO, -EIO: not ready, -EINVAL: no such
 * model. The log says why.
 */
int devmodel_identify(struct devmodel_dev *dev)
{
	int ret = check(dev);

	return ret ? ret : choose_model(dev);
}

/* As model= names it. */
const char *devmodel_model_name(const struct devmodel_dev *dev)
{
	return models[dev->model];
}
