/* SPDX-License-Identifier: GPL-2.0 */
/* What the device has been asked for, and its answers. */
#ifndef _DEVMODEL_COMPLETION_H
#define _DEVMODEL_COMPLETION_H

#include <linux/completion.h>
#include <linux/kref.h>

#include "devmodel_abi.h"

struct devmodel_dev;
struct devmodel_ring;

/**
 * struct devmodel_pending - something the device has been asked for
 * @ref: held by @dev->waiting and by the one who waits
 * @done: completed by the completion interrupt, or when the device is lost
 * @cookie: its name on the rings
 * @generation: the life of the device that was asked
 * @result: the device's answer; valid after @done
 */
struct devmodel_pending {
	struct kref ref;
	struct completion done;
	u64 cookie;
	u32 generation;
	struct devmodel_completion result;
};

void devmodel_completion_init(struct devmodel_dev *dev);
struct devmodel_pending *devmodel_pending_new(struct devmodel_dev *dev);
void devmodel_pending_put(struct devmodel_pending *pending);
void devmodel_pending_forget(struct devmodel_dev *dev,
			     struct devmodel_pending *pending);
bool devmodel_submit(struct devmodel_dev *dev, struct devmodel_ring *ring,
		     const void *command, struct devmodel_pending *pending);
bool devmodel_completions(struct devmodel_dev *dev);
long devmodel_pending_wait(struct devmodel_dev *dev,
			   struct devmodel_pending *pending, long timeout,
			   bool interruptible);

#endif /* _DEVMODEL_COMPLETION_H */
