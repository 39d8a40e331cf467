/* SPDX-License-Identifier: GPL-2.0 */
/* Device programs. */
#ifndef _DEVMODEL_COMPUTE_H
#define _DEVMODEL_COMPUTE_H

#include "devmodel_abi.h"

struct devmodel_mirror;

int devmodel_launch(struct devmodel_mirror *mirror, struct devmodel_launch *launch);
int devmodel_wait(struct devmodel_mirror *mirror, struct devmodel_wait *wait);
void devmodel_programs_drop(struct devmodel_mirror *mirror);

#endif /* _DEVMODEL_COMPUTE_H */
