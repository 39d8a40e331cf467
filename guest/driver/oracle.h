/* SPDX-License-Identifier: GPL-2.0 */
/* What the checker of coherence is told. */
#ifndef _DEVMODEL_ORACLE_H
#define _DEVMODEL_ORACLE_H

#include "device.h"

struct devmodel_mirror;

void devmodel_oracle_write(struct devmodel_dev *dev, struct devmodel_trace_record record);
void devmodel_oracle_map(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long npages, u64 pte);
void devmodel_oracle_dirty(struct devmodel_mirror *mirror, unsigned long start,
			   unsigned long end);
void devmodel_oracle_update(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end, u64 pte_mask);
void devmodel_oracle_model(struct devmodel_dev *dev);
void devmodel_oracle_mirror(struct devmodel_mirror *mirror, enum devmodel_trace kind);
void devmodel_oracle_frames(struct devmodel_dev *dev, enum devmodel_trace kind,
			    u64 bus, unsigned long npages);

static inline bool devmodel_oracle_listens(struct devmodel_dev *dev)
{
	return dev->trace_ring.entries;
}

#endif /* _DEVMODEL_ORACLE_H */
