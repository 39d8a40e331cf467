/* SPDX-License-Identifier: GPL-2.0 */
/* What the device knows of a mirror. */
#ifndef _DEVMODEL_CONTEXT_H
#define _DEVMODEL_CONTEXT_H

#include <linux/compiler.h>
#include <linux/types.h>

struct devmodel_mirror;

int devmodel_context_create(struct devmodel_mirror *mirror);
int devmodel_context_attach(struct devmodel_mirror *mirror);
bool devmodel_context_is_known(const struct devmodel_mirror *mirror);
int devmodel_context_invalidate(struct devmodel_mirror *mirror, unsigned long start,
				unsigned long end);
void devmodel_context_cut(struct devmodel_mirror *mirror);

#endif /* _DEVMODEL_CONTEXT_H */
