/* SPDX-License-Identifier: GPL-2.0 */
/* Rings in the shared region. */
#ifndef _DEVMODEL_RING_H
#define _DEVMODEL_RING_H

#include <linux/types.h>

#include "devmodel_abi.h"

struct devmodel_dev;

/**
 * struct devmodel_ring - our end of a ring in the shared region
 * @header: the indices, shared; what the device wrote there is not trusted
 * @slots: the entries
 * @entries: how many, a power of two
 * @size: bytes of one entry
 * @index: our own index (produced or consumed); never read back from @header
 */
struct devmodel_ring {
	struct devmodel_ring_header *header;
	void *slots;
	u32 entries;
	u32 size;
	u64 index;
};

int devmodel_ring_init(struct devmodel_dev *dev, struct devmodel_ring *ring,
		       u32 offset, u32 entries, u32 size);
bool devmodel_ring_produce(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   const void *entry);
bool devmodel_ring_consume(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   void *entry);
bool devmodel_ring_pending(struct devmodel_dev *dev, struct devmodel_ring *ring);
void devmodel_ring_arm(struct devmodel_ring *ring);

#endif /* _DEVMODEL_RING_H */
