/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/devmodelN. */
#ifndef _DEVMODEL_UAPI_H
#define _DEVMODEL_UAPI_H

#include <linux/fs.h>

extern const struct file_operations devmodel_fops;
extern const struct file_operations devmodel_dmirror_fops;

#endif /* _DEVMODEL_UAPI_H */
