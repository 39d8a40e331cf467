/* SPDX-License-Identifier: GPL-2.0 */
/* Bytes that HBM has lost. */
#ifndef _DEVMODEL_LOSS_H
#define _DEVMODEL_LOSS_H

#include <linux/types.h>

struct devmodel_dev;
struct page;

void devmodel_frame_failed(struct devmodel_dev *dev, unsigned long frame);
void devmodel_bus_failed(struct devmodel_dev *dev, u64 bus);
void devmodel_page_failed(struct devmodel_dev *dev, struct page *page, unsigned int order);
bool devmodel_page_is_lost(struct page *page, unsigned int order);
unsigned long devmodel_hbm_lose(struct devmodel_dev *dev);

#endif /* _DEVMODEL_LOSS_H */
