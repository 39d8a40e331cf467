/* SPDX-License-Identifier: GPL-2.0 */
/* Translations are taken away. */
#ifndef _DEVMODEL_UPDATE_H
#define _DEVMODEL_UPDATE_H

#include <linux/types.h>

struct devmodel_mirror;

void devmodel_pt_update(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, u64 pte_mask, bool free_tables);

#endif /* _DEVMODEL_UPDATE_H */
