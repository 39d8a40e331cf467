/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel tells a mirror, from its beginning to its end. */
#ifndef _DEVMODEL_NOTIFIER_H
#define _DEVMODEL_NOTIFIER_H

struct devmodel_dev;
struct devmodel_mirror;

struct devmodel_mirror *devmodel_mirror_register(struct devmodel_dev *dev);
void devmodel_mirror_unregister(struct devmodel_mirror *mirror);
void devmodel_mirrors_forget(struct devmodel_dev *dev);
void devmodel_mirrors_stop(struct devmodel_dev *dev);

#endif /* _DEVMODEL_NOTIFIER_H */
