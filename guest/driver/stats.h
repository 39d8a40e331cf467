/* SPDX-License-Identifier: GPL-2.0 */
/* What is counted. */
#ifndef _DEVMODEL_STATS_H
#define _DEVMODEL_STATS_H

#include <linux/atomic.h>

#include "devmodel_abi.h"

struct devmodel_dev;
struct devmodel_mirror;

/* What the driver counts; the device counts the rest (struct devmodel_counters). */
struct devmodel_driver_stats {
	atomic64_t device_faults;
	atomic64_t device_fault_batches;
	atomic64_t device_faults_failed;
	atomic64_t cpu_faults;
	atomic64_t pages_to_device;
	atomic64_t pages_to_system;
	atomic64_t pages_evicted;
	atomic64_t pages_from_peer;
	atomic64_t pages_to_peer;
	atomic64_t pages_zeroed;
	atomic64_t pages_failed;
	atomic64_t notifications;
	atomic64_t invalidates;
	atomic64_t pages_dirtied;
	atomic64_t mirrors;
	atomic64_t page_table_pages;
};

int devmodel_stats_read(struct devmodel_dev *dev, struct devmodel_mirror *mirror,
			struct devmodel_stats *stats);
void devmodel_debugfs_add(struct devmodel_dev *dev);
void devmodel_debugfs_init(void);
void devmodel_debugfs_exit(void);

#endif /* _DEVMODEL_STATS_H */
