// SPDX-License-Identifier: GPL-2.0
/*
 * Device programs: launch and wait.
 */
#include <linux/sched/signal.h>

#include "completion.h"
#include "compute.h"
#include "context.h"
#include "device.h"
#include "mirror.h"
#include "state.h"
#include "trace.h"

/* Launches of one mirror that nobody has waited for yet. */
#define MAX_PROGRAMS	1024

/**
 * devmodel_launch() - start a device program
 * @mirror: whose addresses it uses
 * @launch: what to start; @handle is filled in
 *
 * Return: 0, -EAGAIN if the device's queue is full, -EINTR, or another errno.
 */
int devmodel_launch(struct devmodel_mirror *mirror, struct devmodel_launch *launch)
{
	struct devmodel_dev *dev = mirror->dev;
	struct devmodel_compute_command command = {
		.ctx = mirror->ctx,
		.nargs = launch->nargs,
	};
	struct devmodel_pending *pending;
	unsigned long flags;
	int ret, idx;
	u32 handle;

	if (launch->flags || launch->nargs > ARRAY_SIZE(command.args))
		return -EINVAL;
	ret = devmodel_context_attach(mirror);
	if (ret)
		return ret;
	pending = devmodel_pending_new(dev);
	if (!pending)
		return -ENOMEM;
	memcpy(command.program, launch->program, sizeof(command.program));
	memcpy(command.args, launch->args, sizeof(command.args));
	command.cookie = pending->cookie;

	ret = xa_alloc(&mirror->programs, &handle, pending,
		       XA_LIMIT(1, MAX_PROGRAMS), GFP_KERNEL_ACCOUNT);
	if (ret)
		goto err_pending;

	ret = -EIO;
	if (!devmodel_enter(dev, &idx))
		goto err_handle;
	spin_lock_irqsave(&dev->submit_lock, flags);
	if (devmodel_submit(dev, &dev->compute_ring, &command, pending))
		ret = 0;
	else if (!devmodel_is_lost(dev))
		ret = -EAGAIN;
	spin_unlock_irqrestore(&dev->submit_lock, flags);
	devmodel_exit(dev, idx);
	if (ret)
		goto err_handle;
	trace_devmodel_launch(dev->id, &command);
	launch->handle = handle;
	return 0;

err_handle:
	xa_erase(&mirror->programs, handle);
err_pending:
	devmodel_pending_forget(dev, pending);
	devmodel_pending_put(pending);
	/* All handles are in use: wait for one first. */
	return ret == -EBUSY ? -EAGAIN : ret;
}

static int program_outcome(struct devmodel_wait *wait,
			   const struct devmodel_completion *result)
{
	switch (result->status) {
	case DEVMODEL_STATUS_NO_PROGRAM:
		return -ENOENT;
	case DEVMODEL_STATUS_BAD_ARGUMENT:
		return -EINVAL;
	default:
		wait->status = result->status;
		memcpy(wait->result, result->result, sizeof(wait->result));
		wait->fault_address = result->fault_va;
		wait->fault_access = result->fault_access;
		return 0;
	}
}

/**
 * devmodel_wait() - wait for a launch
 * @mirror: whose
 * @wait: handle and timeout in, outcome out, or what is left of the timeout
 *
 * Return: 0 when it ended (see @wait->status); -ENOENT: no such program;
 * -EINVAL: not its arguments; -ESRCH: no such handle; -ETIME: still running;
 * -ERESTARTNOHAND: a signal; -EIO: the device is lost. The handle stays good
 * after -ETIME and a signal.
 */
int devmodel_wait(struct devmodel_mirror *mirror, struct devmodel_wait *wait)
{
	struct devmodel_dev *dev = mirror->dev;
	unsigned long deadline = jiffies + msecs_to_jiffies(wait->timeout_ms);
	struct devmodel_pending *pending;
	int ret;

	xa_lock(&mirror->programs);
	pending = xa_load(&mirror->programs, wait->handle);
	if (pending)
		kref_get(&pending->ref);
	xa_unlock(&mirror->programs);
	if (!pending)
		return -ESRCH;

	ret = devmodel_pending_wait(dev, pending, msecs_to_jiffies(wait->timeout_ms), true);
	if (ret == -ERESTARTSYS) {
		/* Without a handler for it there was no signal: go on with the rest. */
		wait->timeout_ms = time_before(jiffies, deadline) ?
				   jiffies_to_msecs(deadline - jiffies) : 0;
		ret = -ERESTARTNOHAND;
	}
	if (ret != -ETIME && ret != -ERESTARTNOHAND) {
		if (!ret)
			ret = program_outcome(wait, &pending->result);
		if (xa_cmpxchg(&mirror->programs, wait->handle, pending, NULL, 0) == pending) {
			devmodel_pending_forget(dev, pending);
			devmodel_pending_put(pending);
		}
	}
	devmodel_pending_put(pending);
	return ret;
}

/* The mirror goes away: nobody will wait for its launches. */
void devmodel_programs_drop(struct devmodel_mirror *mirror)
{
	struct devmodel_pending *pending;
	unsigned long handle;
	int idx;

	if (devmodel_enter(mirror->dev, &idx)) {
		devmodel_completions(mirror->dev);
		devmodel_exit(mirror->dev, idx);
	}
	xa_for_each(&mirror->programs, handle, pending) {
		xa_erase(&mirror->programs, handle);
		devmodel_pending_forget(mirror->dev, pending);
		devmodel_pending_put(pending);
	}
}
