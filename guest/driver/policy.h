/* SPDX-License-Identifier: GPL-2.0 */
/* Advice per address range. */
#ifndef _DEVMODEL_POLICY_H
#define _DEVMODEL_POLICY_H

#include "devmodel_abi.h"

struct devmodel_mirror;

void devmodel_policy_init(struct devmodel_mirror *mirror);
void devmodel_policy_fini(struct devmodel_mirror *mirror);
void devmodel_policy_end(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end);
int devmodel_policy_set(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, enum devmodel_policy policy);
enum devmodel_policy devmodel_policy_get(struct devmodel_mirror *mirror,
					 unsigned long address, unsigned long *end);

#endif /* _DEVMODEL_POLICY_H */
