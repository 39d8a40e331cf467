// SPDX-License-Identifier: GPL-2.0
/*
 * What has been counted, here and in the device: DEVMODEL_IOC_STATS and
 * /sys/kernel/debug/devmodel/N/.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

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
	struct devmodel_driver_stats *ours = &dev->stats;
	struct devmodel_counters *theirs = dev->counters;
	int idx;

	if (!devmodel_enter(dev, &idx))
		return -ENODEV;
	*stats = (struct devmodel_stats) {
		.device_faults = atomic64_read(&ours->device_faults),
		.device_fault_batches = atomic64_read(&ours->device_fault_batches),
		.device_faults_failed = atomic64_read(&ours->device_faults_failed),
		.cpu_faults = atomic64_read(&ours->cpu_faults),
		.pages_to_device = atomic64_read(&ours->pages_to_device),
		.pages_to_system = atomic64_read(&ours->pages_to_system),
		.pages_evicted = atomic64_read(&ours->pages_evicted),
		.pages_from_peer = atomic64_read(&ours->pages_from_peer),
		.pages_to_peer = atomic64_read(&ours->pages_to_peer),
		.pages_zeroed = atomic64_read(&ours->pages_zeroed),
		.pages_failed = atomic64_read(&ours->pages_failed),
		.bytes_to_device = READ_ONCE(theirs->copy_bytes_to_device) +
				   READ_ONCE(theirs->remote_bytes_read),
		.bytes_to_system = READ_ONCE(theirs->copy_bytes_to_system) +
				   READ_ONCE(theirs->remote_bytes_written),
		.remote_bytes_read = READ_ONCE(theirs->remote_bytes_read),
		.remote_bytes_written = READ_ONCE(theirs->remote_bytes_written),
		.notifications = atomic64_read(&ours->notifications),
		.invalidates = atomic64_read(&ours->invalidates),
		.pages_dirtied = atomic64_read(&ours->pages_dirtied),
		.tlb_hits = READ_ONCE(theirs->tlb_hits),
		.tlb_misses = READ_ONCE(theirs->tlb_misses),
		.mirrors = atomic64_read(&ours->mirrors),
		.page_table_pages = atomic64_read(&ours->page_table_pages),
		.programs = READ_ONCE(theirs->programs),
		.lost = devmodel_is_lost(dev),
		.generation = dev->identity.generation,
		.restarts = READ_ONCE(dev->generation) - 1,
		.pages_aside = atomic64_read(&dev->pages_aside),
	};
	devmodel_exit(dev, idx);
	if (dev->devmem.ready) {
		stats->hbm_bytes = dev->identity.hbm_size;
		stats->hbm_bytes_in_use = (u64)devmodel_hbm_used(dev) << PAGE_SHIFT;
	}
	if (mirror) {
		stats->my_device_faults = atomic64_read(&mirror->faults);
		stats->my_notifications = atomic64_read(&mirror->notifications);
		stats->my_invalidates = atomic64_read(&mirror->invalidates);
		stats->my_page_table_pages = atomic64_read(&mirror->page_table_pages);
	}
	return 0;
}

#define SHOW(field)	seq_printf(file, "%-24s %llu\n", #field, stats.field)

static int stats_show(struct seq_file *file, void *unused)
{
	struct devmodel_stats stats;
	int ret = devmodel_stats_read(file->private, NULL, &stats);

	if (ret)
		return ret;
	SHOW(device_faults);
	SHOW(device_fault_batches);
	SHOW(device_faults_failed);
	SHOW(cpu_faults);
	SHOW(pages_to_device);
	SHOW(pages_to_system);
	SHOW(pages_evicted);
	SHOW(pages_from_peer);
	SHOW(pages_to_peer);
	SHOW(pages_zeroed);
	SHOW(pages_failed);
	SHOW(bytes_to_device);
	SHOW(bytes_to_system);
	SHOW(remote_bytes_read);
	SHOW(remote_bytes_written);
	SHOW(notifications);
	SHOW(invalidates);
	SHOW(pages_dirtied);
	SHOW(tlb_hits);
	SHOW(tlb_misses);
	SHOW(hbm_bytes);
	SHOW(hbm_bytes_in_use);
	SHOW(mirrors);
	SHOW(page_table_pages);
	SHOW(programs);
	SHOW(lost);
	SHOW(generation);
	SHOW(restarts);
	SHOW(pages_aside);
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
	seq_printf(file, "generation   %llu\n", regs->generation);
	seq_printf(file, "heartbeat    %llu\n", devmodel_heartbeat(dev));
	seq_printf(file, "hbm          %llu bytes at %#llx of BAR 2\n", regs->hbm_size,
		   regs->hbm_offset);
	seq_printf(file, "lost         %d\n", devmodel_is_lost(dev));
	seq_printf(file, "aside        %lld pages\n", atomic64_read(&dev->pages_aside));
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
