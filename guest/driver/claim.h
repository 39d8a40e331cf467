/* SPDX-License-Identifier: GPL-2.0 */
/* Pages that the device is to have alone. */
#ifndef _DEVMODEL_CLAIM_H
#define _DEVMODEL_CLAIM_H

#include <linux/types.h>

struct devmodel_mirror;

int devmodel_mirror_exclusive(struct devmodel_mirror *mirror, unsigned long start,
			      unsigned long end);
int devmodel_mirror_atomic(struct devmodel_mirror *mirror, unsigned long address, u64 seq);

#endif /* _DEVMODEL_CLAIM_H */
