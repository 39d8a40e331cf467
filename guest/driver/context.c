// SPDX-License-Identifier: GPL-2.0
/*
 * Contexts: what the device knows of a mirror. It is told of one, has its
 * translations invalidated, and is made to forget it.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "context.h"
#include "control.h"
#include "device.h"
#include "mirror.h"
#include "state.h"
#include "trace.h"

/**
 * devmodel_context_is_known() - does the device know this context?
 * @mirror: the mirror
 *
 * Not before its first life, nor in a life after that until it is told again.
 */
bool devmodel_context_is_known(const struct devmodel_mirror *mirror)
{
	return mirror->generation == READ_ONCE(mirror->dev->generation);
}

/**
 * devmodel_context_create() - tell the device of a mirror's context
 * @mirror: the mirror, pt_lock held
 *
 * Return: as devmodel_control_one().
 */
int devmodel_context_create(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_CREATE,
		.ctx = mirror->ctx,
		.root = page_to_phys(mirror->root),
	};
	struct devmodel_control_command destroy = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_DESTROY,
		.ctx = mirror->ctx,
	};
	u32 generation;
	int ret;

	lockdep_assert_held(&mirror->pt_lock);
	for (;;) {
		generation = READ_ONCE(mirror->dev->generation);
		ret = devmodel_control_one(mirror->dev, &command);
		if (ret)
			return ret;
		mirror->generation = generation;
		if (devmodel_context_is_known(mirror))
			return 0;
		/* In which of its lives was it told? Once more, in the present one. */
		devmodel_control(mirror->dev, &destroy, 1);
	}
}

/**
 * devmodel_context_attach() - have the device know a mirror's context
 * @mirror: the mirror
 *
 * Waits for the device's next life, if it is to have one. Its page table has
 * stayed what it was.
 *
 * Return: 0, -EINTR, or -EIO: it is lost, or the mirror is.
 */
int devmodel_context_attach(struct devmodel_mirror *mirror)
{
	struct devmodel_dev *dev = mirror->dev;
	int ret = 0;

	if (!devmodel_await(dev))
		return fatal_signal_pending(current) ? -EINTR : -EIO;
	if (devmodel_context_is_known(mirror))
		return 0;
	mutex_lock(&mirror->pt_lock);
	if (mirror->stopped)
		ret = -EIO;
	else if (!devmodel_context_is_known(mirror))
		ret = devmodel_context_create(mirror);
	mutex_unlock(&mirror->pt_lock);
	return ret;
}

/**
 * devmodel_context_cut() - take its context away from the device
 * @mirror: the mirror, pt_lock held
 *
 * Programs end before this is acknowledged; then nobody walks the tables. A
 * device that refuses that, too, is lost.
 */
void devmodel_context_cut(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_DESTROY,
		.ctx = mirror->ctx,
	};
	int idx;

	lockdep_assert_held(&mirror->pt_lock);
	if (mirror->stopped)
		return;
	if (devmodel_context_is_known(mirror) && !devmodel_control(mirror->dev, &command, 1) &&
	    command.status != DEVMODEL_STATUS_OK &&
	    command.status != DEVMODEL_STATUS_NO_CONTEXT &&
	    devmodel_enter(mirror->dev, &idx)) {
		devmodel_lost(mirror->dev, "it refused to give up a context");
		devmodel_exit(mirror->dev, idx);
	}
	WRITE_ONCE(mirror->stopped, true);
}

/**
 * devmodel_context_invalidate() - have the device forget translations
 * @mirror: the mirror, pt_lock held
 * @start: page aligned
 * @end: page aligned
 *
 * A device that refuses loses the whole context: mirror->stopped tells.
 *
 * Return: as devmodel_control_one().
 */
int devmodel_context_invalidate(struct devmodel_mirror *mirror, unsigned long start,
				unsigned long end)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_INVALIDATE,
		.ctx = mirror->ctx,
		.va = start,
		.length = end - start,
	};
	int ret;

	/* Without a context in the device there is nothing to invalidate. */
	if (mirror->stopped || !devmodel_context_is_known(mirror))
		return 0;
	ret = devmodel_control_one(mirror->dev, &command);
	trace_devmodel_invalidate(mirror->dev->id, mirror->ctx, start, end, ret);
	atomic64_inc(&mirror->invalidates);
	atomic64_inc(&mirror->dev->stats.invalidates);
	/* Without its context the device has no translations of this mirror's at all. */
	if (ret == -EPROTO)
		devmodel_context_cut(mirror);
	return ret;
}
