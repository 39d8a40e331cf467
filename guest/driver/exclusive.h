/* SPDX-License-Identifier: GPL-2.0 */
/* Pages that the device has alone go back to the CPUs. */
#ifndef _DEVMODEL_EXCLUSIVE_H
#define _DEVMODEL_EXCLUSIVE_H

struct devmodel_mirror;

void devmodel_exclusive_end(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end);
void devmodel_exclusive_end_all(struct devmodel_mirror *mirror);

#endif /* _DEVMODEL_EXCLUSIVE_H */
