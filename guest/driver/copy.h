/* SPDX-License-Identifier: GPL-2.0 */
/* The DMA engine. */
#ifndef _DEVMODEL_COPY_H
#define _DEVMODEL_COPY_H

#include <linux/types.h>

#include "devmodel_abi.h"

struct devmodel_dev;

struct devmodel_copy_list {
	unsigned int count;
	struct devmodel_copy_entry entry[];
};

struct devmodel_copy_list *devmodel_copy_list_new(unsigned int capacity);
void devmodel_copy_list_free(struct devmodel_copy_list *list);
unsigned int devmodel_copy_add(struct devmodel_copy_list *list, u64 src, u64 dst,
			       u32 length);
int devmodel_copy_run(struct devmodel_dev *dev, enum devmodel_copy op,
		      struct devmodel_copy_list **list);

#endif /* _DEVMODEL_COPY_H */
