/* SPDX-License-Identifier: GPL-2.0 */
/* Frames of HBM: whose they are, and how devices address them. */
#ifndef _DEVMODEL_HBM_H
#define _DEVMODEL_HBM_H

#include "compat.h"
#include "device.h"

int devmodel_hbm_show(struct devmodel_dev *dev);
void devmodel_hbm_hide(struct devmodel_dev *dev);
unsigned long devmodel_hbm_used(struct devmodel_dev *dev);
struct page *devmodel_frame_alloc(struct devmodel_dev *dev, unsigned int order);
void devmodel_frame_free(DEVMODEL_FREED *freed);
void devmodel_frame_unused(struct page *page);
bool devmodel_frame_condemn(struct devmodel_dev *dev, unsigned long frame, bool *holds_page);
unsigned long devmodel_hbm_room(struct devmodel_dev *dev);
unsigned long devmodel_hbm_failed(struct devmodel_dev *dev);
u64 devmodel_bus_address(struct devmodel_dev *dev, struct page *page);
struct page *devmodel_bus_page(struct devmodel_dev *dev, u64 bus);
bool devmodel_is_hbm(struct devmodel_dev *dev, struct page *page);
struct devmodel_dev *devmodel_owner(struct page *page);
bool devmodel_reaches(struct devmodel_dev *dev, struct page *page);
bool devmodel_reaches_hbm(struct devmodel_dev *dev, struct devmodel_dev *peer);
int devmodel_peers_visit(struct devmodel_dev *dev,
			 int (*visit)(struct devmodel_dev *peer, void *data), void *data);

static inline unsigned long devmodel_first_pfn(struct devmodel_dev *dev)
{
	return devmodel_is_node(dev) ? dev->devmem.node.start_pfn :
				       dev->devmem.pagemap.range.start >> PAGE_SHIFT;
}

#endif /* _DEVMODEL_HBM_H */
