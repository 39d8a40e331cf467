// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors: one address space on one device. Made, found, held and let go here;
 * what the kernel tells them comes in notifier.c.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "compat.h"
#include "device.h"
#include "mirror.h"
#include "pagetable.h"
#include "policy.h"
#include "update.h"

/* Context 0 is never used, so that a zeroed command names no mirror. */
#define MAX_CONTEXTS	1023
/* Those of one user on one device. */
#define CONTEXTS_PER_USER	256

/* A second mirror of one address space on one device is refused. */
static int mirror_enter(struct devmodel_mirror *mirror)
{
	struct devmodel_dev *dev = mirror->dev;
	struct devmodel_mirror *other;
	unsigned long ctx;
	unsigned int owned = 0;
	int ret = 0;

	mutex_lock(&dev->mirrors_lock);
	xa_for_each(&dev->mirrors, ctx, other) {
		if (other->mm == mirror->mm && !other->closed)
			ret = -EBUSY;
		owned += uid_eq(other->owner, mirror->owner);
	}
	/* Some are left for those who may take what others may not. */
	if (!ret && owned >= CONTEXTS_PER_USER && !capable(CAP_SYS_RESOURCE))
		ret = -EMFILE;
	if (!ret) {
		ret = xa_alloc(&dev->mirrors, &mirror->ctx, mirror,
			       XA_LIMIT(1, MAX_CONTEXTS), GFP_KERNEL_ACCOUNT);
		/* The device has no more of them. */
		ret = ret == -EBUSY ? -ENOSPC : ret;
	}
	mutex_unlock(&dev->mirrors_lock);
	return ret;
}

/* Its file is closed. Its worker may be stuck, and holds the context until it is not. */
void devmodel_mirror_close(struct devmodel_mirror *mirror)
{
	mutex_lock(&mirror->dev->mirrors_lock);
	mirror->closed = true;
	mutex_unlock(&mirror->dev->mirrors_lock);
}

static void mirror_free(struct kref *ref)
{
	struct devmodel_mirror *mirror = container_of(ref, struct devmodel_mirror, ref);

	/* Only now may the context be given out again. 0 was none. */
	mutex_lock(&mirror->dev->mirrors_lock);
	if (mirror->ctx)
		xa_erase(&mirror->dev->mirrors, mirror->ctx);
	mutex_unlock(&mirror->dev->mirrors_lock);
	mutex_lock(&mirror->pt_lock);
	if (mirror->root)
		devmodel_pt_update(mirror, 0, ULONG_MAX, 0, true);
	devmodel_pt_fini(mirror);
	mutex_unlock(&mirror->pt_lock);
	devmodel_policy_fini(mirror);
	xa_destroy(&mirror->programs);
	mmdrop(mirror->mm);
	devmodel_dev_put(mirror->dev);
	kfree(mirror);
	/* Unloading waits for who calls this: a file, or a worker. */
	module_put(THIS_MODULE);
}

void devmodel_mirror_put(struct devmodel_mirror *mirror)
{
	/* Its address alone is used after this. */
	if (!kref_put(&mirror->ref, mirror_free))
		wake_up_var(mirror);
}

/**
 * devmodel_mirror_new() - a mirror of the current address space, with a context's number
 * @dev: the device
 *
 * The device does not know of it yet, and devmodel_mirror_get() does not find it.
 *
 * Return: the mirror, or an ERR_PTR: -EBUSY, -EMFILE, -ENOMEM, -ENOSPC.
 */
struct devmodel_mirror *devmodel_mirror_new(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	int ret;

	mirror = kzalloc_obj(*mirror, GFP_KERNEL_ACCOUNT);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mirror->dev = dev;
	kref_get(&dev->ref);
	/* A mirror may outlive its file by a fault that is stuck. */
	__module_get(THIS_MODULE);
	mirror->owner = current_uid();
	mirror->mm = current->mm;
	mmgrab(mirror->mm);
	kref_init(&mirror->ref);
	mutex_init(&mirror->pt_lock);
	mutex_init(&mirror->dmirror_lock);
	devmodel_policy_init(mirror);
	xa_init_flags(&mirror->programs, XA_FLAGS_ALLOC1);
	/* Until the device knows the context there is nothing to stop in it. */
	mirror->stopped = true;
	mirror->released = true;

	ret = devmodel_pt_init(mirror);
	if (!ret)
		ret = mirror_enter(mirror);
	if (ret) {
		devmodel_mirror_put(mirror);
		return ERR_PTR(ret);
	}
	return mirror;
}

/**
 * devmodel_mirror_get() - the mirror of a context, with a reference
 * @dev: the device
 * @ctx: context id, from the device and so perhaps nonsense
 *
 * One that is on its way is not found: a late fault of the mirror that had the
 * context before must not reach it.
 *
 * Return: the mirror or NULL.
 */
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx)
{
	struct devmodel_mirror *mirror;

	mutex_lock(&dev->mirrors_lock);
	mirror = xa_load(&dev->mirrors, ctx);
	/* Pairs with devmodel_mirror_register(). */
	if (mirror && (smp_load_acquire(&mirror->stopped) || !kref_get_unless_zero(&mirror->ref)))
		mirror = NULL;
	mutex_unlock(&dev->mirrors_lock);
	return mirror;
}

/**
 * devmodel_mirror_next() - one mirror after the other
 * @dev: the device
 * @ctx: 0 to begin; the mirror's context id, to go on from
 *
 * Return: the next mirror, with a reference, or NULL.
 */
struct devmodel_mirror *devmodel_mirror_next(struct devmodel_dev *dev, unsigned long *ctx)
{
	struct devmodel_mirror *mirror;

	mutex_lock(&dev->mirrors_lock);
	do
		mirror = xa_find_after(&dev->mirrors, ctx, ULONG_MAX, XA_PRESENT);
	while (mirror && !kref_get_unless_zero(&mirror->ref));
	mutex_unlock(&dev->mirrors_lock);
	return mirror;
}
