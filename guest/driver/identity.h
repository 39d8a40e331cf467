/* SPDX-License-Identifier: GPL-2.0 */
/* What a device says of itself, checked. */
#ifndef _DEVMODEL_IDENTITY_H
#define _DEVMODEL_IDENTITY_H

#include <linux/compiler.h>

struct devmodel_dev;

int devmodel_identify(struct devmodel_dev *dev);
const char *devmodel_model_name(const struct devmodel_dev *dev);

#endif /* _DEVMODEL_IDENTITY_H */
