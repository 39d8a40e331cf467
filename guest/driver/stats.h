/* SPDX-License-Identifier: GPL-2.0 */
/* What is counted. */
#ifndef _DEVMODEL_STATS_H
#define _DEVMODEL_STATS_H

struct devmodel_dev;
struct devmodel_mirror;
struct devmodel_stats;

int devmodel_stats_read(struct devmodel_dev *dev, struct devmodel_mirror *mirror,
			struct devmodel_stats *stats);
void devmodel_debugfs_add(struct devmodel_dev *dev);
void devmodel_debugfs_init(void);
void devmodel_debugfs_exit(void);

#endif /* _DEVMODEL_STATS_H */
