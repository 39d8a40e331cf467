/* SPDX-License-Identifier: GPL-2.0 */
/* Room in HBM. */
#ifndef _DEVMODEL_EVICT_H
#define _DEVMODEL_EVICT_H

struct devmodel_dev;

unsigned long devmodel_evict(struct devmodel_dev *dev, unsigned long wanted);
int devmodel_evict_all(struct devmodel_dev *dev);

#endif /* _DEVMODEL_EVICT_H */
