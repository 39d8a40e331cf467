// SPDX-License-Identifier: GPL-2.0
/*
 * What has been counted, here and in the device: DEVMODEL_IOC_STATS and
 * /sys/kernel/debug/devmodel/N/.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "../uapi/devmodel_stats.h"
#include "device.h"
#include "hbm.h"
#include "mirror.h"
#include "state.h"
#include "stats.h"

/**
 * devmodel_stats_read() - all counts
 * @dev: the device
 * @mirror: whose the my_* fields are, or NULL
 * @stats: filled in
 *
 * Return: 0, or -ENODEV: the device has gone.
 */
int devmodel_stats_read(struct devmodel_dev *dev, struct devmodel_mirror *mirror,
			struct devmodel_stats *stats)
{
	int idx;

	if (!devmodel_enter(dev, &idx))
		return -ENODEV;
	*stats = (struct devmodel_stats) {
		.lost = devmodel_is_lost(dev),
		.generation = dev->identity.generation,
		.restarts = READ_ONCE(dev->generation) - 1,
	};
	devmodel_stats_counted(&dev->stats, dev->counters, stats);
	devmodel_exit(dev, idx);
	if (dev->devmem.ready) {
		stats->hbm_bytes = dev->identity.hbm_size;
		stats->hbm_bytes_in_use = (u64)devmodel_hbm_used(dev) << PAGE_SHIFT;
		stats->hbm_bytes_failed = (u64)devmodel_hbm_failed(dev) << PAGE_SHIFT;
	}
	if (mirror) {
		stats->my_device_faults = atomic64_read(&mirror->faults);
		stats->my_notifications = atomic64_read(&mirror->notifications);
		stats->my_invalidates = atomic64_read(&mirror->invalidates);
		stats->my_page_table_pages = atomic64_read(&mirror->page_table_pages);
	}
	return 0;
}

static int stats_show(struct seq_file *file, void *unused)
{
	struct devmodel_stats stats;
	int i, ret = devmodel_stats_read(file->private, NULL, &stats);

	if (ret)
		return ret;
	for (i = 0; i < DEVMODEL_STATS_SHOWN; i++)
		seq_printf(file, "%-24s %llu\n", devmodel_stat[i].name,
			   devmodel_stat_value(&stats, i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int identity_show(struct seq_file *file, void *unused)
{
	struct devmodel_dev *dev = file->private;
	struct devmodel_device_regs *regs = &dev->identity;

	seq_printf(file, "device       %s (%s)\n", dev->name, pci_name(dev->pdev));
	seq_printf(file, "abi          %u.%u layout %#018llx\n", regs->abi_major,
		   regs->abi_minor, regs->layout_hash);
	seq_printf(file, "model        %u (configured %u)\n", dev->model, regs->model);
	seq_printf(file, "heartbeat    %llu\n", devmodel_heartbeat(dev));
	seq_printf(file, "hbm          %llu bytes at %#llx of BAR 2\n", regs->hbm_size,
		   regs->hbm_offset);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(identity);

static struct dentry *debugfs_root;

void devmodel_debugfs_init(void)
{
	debugfs_root = debugfs_create_dir("devmodel", NULL);
}

void devmodel_debugfs_exit(void)
{
	debugfs_remove_recursive(debugfs_root);
}

/* The files of one device; removed with dev->debugfs. */
void devmodel_debugfs_add(struct devmodel_dev *dev)
{
	char name[12];

	snprintf(name, sizeof(name), "%d", dev->id);
	dev->debugfs = debugfs_create_dir(name, debugfs_root);
	debugfs_create_file("stats", 0444, dev->debugfs, dev, &stats_fops);
	debugfs_create_file("identity", 0444, dev->debugfs, dev, &identity_fops);
}
