/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that a device which was given up may still write to. */
#ifndef _DEVMODEL_ASIDE_H
#define _DEVMODEL_ASIDE_H

#include <linux/types.h>

struct devmodel_dev;
struct page;

void devmodel_put_page(struct devmodel_dev *dev, struct page *page);
void devmodel_hold_page(struct devmodel_dev *dev, struct page *page);
bool devmodel_aside_end(struct devmodel_dev *dev);

#endif /* _DEVMODEL_ASIDE_H */
