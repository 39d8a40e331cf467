/* SPDX-License-Identifier: GPL-2.0 */
/* Ranges go to HBM and back. */
#ifndef _DEVMODEL_MIGRATE_H
#define _DEVMODEL_MIGRATE_H

#include <linux/types.h>

#include "devmodel_abi.h"

struct devmodel_mirror;

int devmodel_migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request,
		     bool peers);
int devmodel_migrate_to_device(struct devmodel_mirror *mirror, unsigned long start,
			       unsigned long end);
int devmodel_migrate_to_system(struct devmodel_mirror *mirror, unsigned long address);

#endif /* _DEVMODEL_MIGRATE_H */
