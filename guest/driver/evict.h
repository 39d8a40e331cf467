/* SPDX-License-Identifier: GPL-2.0 */
/* Room in HBM. */
#ifndef _DEVMODEL_EVICT_H
#define _DEVMODEL_EVICT_H

/* When pages are tried again that have lost their bytes and were busy. */
#define DEVMODEL_LOST_AGAIN	(HZ / 10)

struct devmodel_dev;
struct work_struct;

unsigned long devmodel_evict(struct devmodel_dev *dev, unsigned long wanted);
int devmodel_evict_all(struct devmodel_dev *dev);
int devmodel_evict_lost(struct devmodel_dev *dev);
void devmodel_evict_lost_work(struct work_struct *work);

#endif /* _DEVMODEL_EVICT_H */
