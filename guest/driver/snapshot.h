/* SPDX-License-Identifier: GPL-2.0 */
/* Both page tables side by side. */
#ifndef _DEVMODEL_SNAPSHOT_H
#define _DEVMODEL_SNAPSHOT_H

#include "devmodel_abi.h"

struct devmodel_mirror;

int devmodel_snapshot(struct devmodel_mirror *mirror, struct devmodel_snapshot *request);

#endif /* _DEVMODEL_SNAPSHOT_H */
