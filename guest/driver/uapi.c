// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmodelN: an open file is a mirror of the process that opened it.
 */
#include <linux/fs.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compute.h"
#include "device.h"
#include "dmirror.h"
#include "migrate.h"
#include "mirror.h"
#include "notifier.h"
#include "policy.h"
#include "snapshot.h"
#include "stats.h"
#include "uapi.h"

static int open_mirror(struct devmodel_dev *dev, struct file *file)
{
	/* The node is taken away before the device, and waits for who opens it. */
	struct devmodel_mirror *mirror = devmodel_mirror_register(dev);

	if (IS_ERR(mirror))
		return PTR_ERR(mirror);
	file->private_data = mirror;
	return 0;
}

static int devmodel_open(struct inode *inode, struct file *file)
{
	return open_mirror(container_of(file->private_data, struct devmodel_dev, misc), file);
}

static int dmirror_open(struct inode *inode, struct file *file)
{
	return open_mirror(container_of(file->private_data, struct devmodel_dev, dmirror), file);
}

static int devmodel_release(struct inode *inode, struct file *file)
{
	devmodel_mirror_unregister(file->private_data);
	return 0;
}

static int check_range(u64 address, u64 length)
{
	u64 end;

	if (!length || !PAGE_ALIGNED(address) || !PAGE_ALIGNED(length) ||
	    check_add_overflow(address, length, &end) || end > TASK_SIZE_MAX)
		return -EINVAL;
	return 0;
}

static void info(struct devmodel_mirror *mirror, struct devmodel_info *info)
{
	struct devmodel_dev *dev = mirror->dev;

	*info = (struct devmodel_info) {
		.abi_major = DEVMODEL_ABI_MAJOR,
		.abi_minor = DEVMODEL_ABI_MINOR,
		.layout_hash = DEVMODEL_LAYOUT_HASH,
		.model = dev->model,
		.page_shift = PAGE_SHIFT,
		.features = dev->identity.features,
		.hbm_bytes = dev->devmem.ready ? dev->identity.hbm_size : 0,
		.context = mirror->ctx,
	};
}

static int advise(struct devmodel_mirror *mirror, const struct devmodel_advise *advise)
{
	int ret = check_range(advise->address, advise->length);

	if (ret || advise->flags)
		return ret ? ret : -EINVAL;
	return devmodel_policy_set(mirror, advise->address,
				   advise->address + advise->length, advise->policy);
}

static int migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request)
{
	int ret = check_range(request->address, request->length);

	return ret ? ret : devmodel_migrate(mirror, request, true);
}

static int snapshot(struct devmodel_mirror *mirror, struct devmodel_snapshot *request)
{
	int ret = check_range(request->address, request->length);

	return ret ? ret : devmodel_snapshot(mirror, request);
}

union devmodel_argument {
	struct devmodel_info info;
	struct devmodel_launch launch;
	struct devmodel_wait wait;
	struct devmodel_migrate migrate;
	struct devmodel_advise advise;
	struct devmodel_snapshot snapshot;
	struct devmodel_stats stats;
};

static int dispatch(struct devmodel_mirror *mirror, unsigned int request,
		    union devmodel_argument *argument)
{
	switch (request) {
	case DEVMODEL_IOC_INFO:
		info(mirror, &argument->info);
		return 0;
	case DEVMODEL_IOC_LAUNCH:
		return devmodel_launch(mirror, &argument->launch);
	case DEVMODEL_IOC_WAIT:
		return devmodel_wait(mirror, &argument->wait);
	case DEVMODEL_IOC_MIGRATE:
		return migrate(mirror, &argument->migrate);
	case DEVMODEL_IOC_ADVISE:
		return advise(mirror, &argument->advise);
	case DEVMODEL_IOC_SNAPSHOT:
		return snapshot(mirror, &argument->snapshot);
	case DEVMODEL_IOC_STATS:
		return devmodel_stats_read(mirror->dev, mirror, &argument->stats);
	default:
		return -ENOTTY;
	}
}

static long devmodel_ioctl(struct file *file, unsigned int request, unsigned long pointer)
{
	struct devmodel_mirror *mirror = file->private_data;
	void __user *user = (void __user *)pointer;
	unsigned int size = _IOC_SIZE(request);
	union devmodel_argument argument;
	int ret;

	/* An inherited or passed descriptor is not a mirror of its new owner. */
	if (current->mm != mirror->mm)
		return -EPERM;
	if (_IOC_TYPE(request) != DEVMODEL_IOC_MAGIC || size > sizeof(argument))
		return -ENOTTY;
	memset(&argument, 0, sizeof(argument));
	if ((_IOC_DIR(request) & _IOC_WRITE) && copy_from_user(&argument, user, size))
		return -EFAULT;

	ret = READ_ONCE(mirror->dev->leaving) ? -ENODEV :
		dispatch(mirror, request, &argument);
	if ((!ret || ret == -ERESTARTNOHAND) && (_IOC_DIR(request) & _IOC_READ) &&
	    copy_to_user(user, &argument, size))
		ret = -EFAULT;
	return ret;
}

static long dmirror_ioctl(struct file *file, unsigned int request, unsigned long pointer)
{
	struct devmodel_mirror *mirror = file->private_data;

	if (current->mm != mirror->mm)
		return -EPERM;
	if (READ_ONCE(mirror->dev->leaving))
		return -ENODEV;
	return devmodel_dmirror_ioctl(mirror, request, (void __user *)pointer);
}

const struct file_operations devmodel_dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = devmodel_release,
	.unlocked_ioctl = dmirror_ioctl,
	.mmap = devmodel_dmirror_mmap,
	.llseek = noop_llseek,
};

const struct file_operations devmodel_fops = {
	.owner = THIS_MODULE,
	.open = devmodel_open,
	.release = devmodel_release,
	.unlocked_ioctl = devmodel_ioctl,
	.llseek = noop_llseek,
};
