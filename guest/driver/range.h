/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's page table has for a range. */
#ifndef _DEVMODEL_RANGE_H
#define _DEVMODEL_RANGE_H

struct devmodel_mirror;
struct hmm_range;

int devmodel_range_fault(struct hmm_range *range);
int devmodel_mm_fault(struct devmodel_mirror *mirror, struct hmm_range *range);
int devmodel_cpu_pfns(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, unsigned long *pfns);

#endif /* _DEVMODEL_RANGE_H */
