/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own HMM test interface. */
#ifndef _DEVMODEL_DMIRROR_H
#define _DEVMODEL_DMIRROR_H

#include <linux/compiler.h>

struct devmodel_mirror;
struct file;
struct vm_area_struct;

int devmodel_dmirror_ioctl(struct devmodel_mirror *mirror, unsigned int request,
			   void __user *user);
int devmodel_dmirror_mmap(struct file *file, struct vm_area_struct *vma);

#endif /* _DEVMODEL_DMIRROR_H */
