/* SPDX-License-Identifier: GPL-2.0 */
/* Who may use a device, and whether it answers. */
#ifndef _DEVMODEL_STATE_H
#define _DEVMODEL_STATE_H

#include <linux/jiffies.h>

#include "device.h"

/* How long the device may take, and how often we look without an interrupt. */
#define DEVMODEL_TIMEOUT	(10 * HZ)
#define DEVMODEL_LOOK_AGAIN	msecs_to_jiffies(20)
/* How long a device that was given up may take to come back. */
#define DEVMODEL_RETURN		(20 * HZ)

bool devmodel_enter(struct devmodel_dev *dev, int *idx);
void devmodel_exit(struct devmodel_dev *dev, int idx);
void devmodel_leave(struct devmodel_dev *dev);
void devmodel_gone(struct devmodel_dev *dev);
int devmodel_go_on(struct devmodel_dev *dev);
void devmodel_bell(struct devmodel_dev *dev);
int devmodel_reset(struct devmodel_dev *dev, u64 generation);
void devmodel_lost(struct devmodel_dev *dev, const char *why);
bool devmodel_may_write(struct devmodel_dev *dev);
bool devmodel_may_return(struct devmodel_dev *dev);
bool devmodel_is_away(struct devmodel_dev *dev);
bool devmodel_await(struct devmodel_dev *dev);
bool devmodel_has_returned(struct devmodel_dev *dev);
bool devmodel_recover(struct devmodel_dev *dev);
u64 devmodel_heartbeat(struct devmodel_dev *dev);
bool devmodel_answers(struct devmodel_dev *dev);

static inline bool devmodel_is_lost(struct devmodel_dev *dev)
{
	/* Pairs with devmodel_recover(). */
	return smp_load_acquire(&dev->lost);
}

#endif /* _DEVMODEL_STATE_H */
