/* SPDX-License-Identifier: GPL-2.0 */
/* Synchronous commands. */
#ifndef _DEVMODEL_CONTROL_H
#define _DEVMODEL_CONTROL_H

#include <linux/compiler.h>

#include "devmodel_abi.h"

struct devmodel_dev;

int devmodel_control(struct devmodel_dev *dev,
		     struct devmodel_control_command *commands, unsigned int count);
int devmodel_control_one(struct devmodel_dev *dev,
			 const struct devmodel_control_command *command);

#endif /* _DEVMODEL_CONTROL_H */
