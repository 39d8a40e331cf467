// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors: one address space on one device.
 *
 * DOC: Events
 *
 * The 2015 interface had one update(mirror, event) with
 * new_pte = old_pte & event->pte_mask, called before the change takes effect.
 * mirror_update() is that, on top of today's interval notifier: when it
 * returns, the device has stopped using the old translations.
 *
 * DOC: Lifetime
 *
 * A mirror is made by open() and holds the mm_struct, not its users. It is
 * stopped once: by exit or exec of the address space, by the last close, or by
 * removal of the device, whichever comes first. Stopping ends the device's
 * programs before the context goes; release() is traced there.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "devmodel.h"
#include "trace.h"

/* Context 0 is never used, so that a zeroed command names no mirror. */
#define MAX_CONTEXTS	1023

struct mirror_event {
	const char *name;
	u64 pte_mask;
	bool free_tables;
};

#define NO_WRITE	(~(DEVMODEL_PTE_WRITE | DEVMODEL_PTE_ATOMIC))

static const struct mirror_event EVENT_MIGRATE = { "MIGRATE", 0, false };
static const struct mirror_event EVENT_MUNMAP = { "MUNMAP", 0, true };
static const struct mirror_event EVENT_ISDIRTY = { "ISDIRTY", NO_WRITE, false };
static const struct mirror_event EVENT_WRITE_PROTECT = { "WRITE_PROTECT", NO_WRITE, false };
static const struct mirror_event EVENT_EXCLUSIVE = { "EXCLUSIVE", 0, false };

static const struct mirror_event *event_of(const struct mmu_notifier_range *range)
{
	switch (range->event) {
	case MMU_NOTIFY_UNMAP:
	case MMU_NOTIFY_RELEASE:
		return &EVENT_MUNMAP;
	case MMU_NOTIFY_PROTECTION_VMA:
		return devmodel_stays_readable(range) ? &EVENT_WRITE_PROTECT : &EVENT_MUNMAP;
	case MMU_NOTIFY_PROTECTION_PAGE:
		return &EVENT_WRITE_PROTECT;
	case MMU_NOTIFY_SOFT_DIRTY:
		return &EVENT_ISDIRTY;
	case MMU_NOTIFY_EXCLUSIVE:
		return &EVENT_EXCLUSIVE;
	default:
		return &EVENT_MIGRATE;
	}
}

static void mirror_update(struct devmodel_mirror *mirror,
			  const struct mirror_event *event,
			  unsigned long start, unsigned long end)
{
	struct devmodel_pt_count before = {}, after = {};

	if (trace_devmodel_update_enabled())
		before = devmodel_pt_count(mirror, start, end);
	devmodel_pt_update(mirror, start, end, event->pte_mask, event->free_tables);
	if (trace_devmodel_update_enabled()) {
		after = devmodel_pt_count(mirror, start, end);
		trace_devmodel_update(mirror->dev->id, mirror->ctx, event->name, start, end,
				      event->pte_mask, &before, &after);
	}
}

static void mirror_stop_locked(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_DESTROY,
		.ctx = mirror->ctx,
	};

	lockdep_assert_held(&mirror->pt_lock);
	if (mirror->stopped)
		return;
	/* Programs end before this is acknowledged; then nobody walks the tables. */
	devmodel_control_one(mirror->dev, &command);
	mirror->stopped = true;
	mirror_update(mirror, &EVENT_MUNMAP, 0, ULONG_MAX);
	trace_devmodel_release(mirror->dev->id, mirror->ctx);
}

/**
 * devmodel_mirror_stop() - end the device's use of a mirror, once
 * @mirror: the mirror
 */
void devmodel_mirror_stop(struct devmodel_mirror *mirror)
{
	mutex_lock(&mirror->pt_lock);
	mirror_stop_locked(mirror);
	mutex_unlock(&mirror->pt_lock);
}

static bool mirror_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long seq)
{
	struct devmodel_mirror *mirror =
		container_of(notifier, struct devmodel_mirror, notifier);

	/* Our own claim to exclusive access: it gives, and takes nothing. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == mirror->dev)
		return true;
	if (mmu_notifier_range_blockable(range)) {
		mutex_lock(&mirror->pt_lock);
	} else {
		if (!mutex_trylock(&mirror->pt_lock))
			return false;
		/* Waiting for the device sleeps; having nothing to do does not. */
		if (range->event == MMU_NOTIFY_RELEASE ||
		    devmodel_pt_count(mirror, range->start, range->end).entries) {
			mutex_unlock(&mirror->pt_lock);
			return false;
		}
	}
	mmu_interval_set_seq(notifier, seq);
	atomic64_inc(&mirror->notifications);
	atomic64_inc(&mirror->dev->stats.notifications);
	if (range->event == MMU_NOTIFY_RELEASE)
		mirror_stop_locked(mirror);
	else
		mirror_update(mirror, event_of(range), range->start, range->end);
	mutex_unlock(&mirror->pt_lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};

static int mirror_create_context(struct devmodel_mirror *mirror)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_CONTEXT_CREATE,
		.ctx = mirror->ctx,
		.root = page_to_phys(mirror->root),
	};

	return devmodel_control_one(mirror->dev, &command);
}

/* A second mirror of one address space on one device is refused. */
static int mirror_enter(struct devmodel_mirror *mirror)
{
	struct devmodel_dev *dev = mirror->dev;
	struct devmodel_mirror *other;
	unsigned long ctx;
	int ret = 0;

	mutex_lock(&dev->mirrors_lock);
	xa_for_each(&dev->mirrors, ctx, other)
		if (other->mm == mirror->mm)
			ret = -EBUSY;
	if (!ret)
		ret = xa_alloc(&dev->mirrors, &mirror->ctx, mirror,
			       XA_LIMIT(1, MAX_CONTEXTS), GFP_KERNEL);
	mutex_unlock(&dev->mirrors_lock);
	return ret;
}

static void mirror_leave(struct devmodel_mirror *mirror)
{
	mutex_lock(&mirror->dev->mirrors_lock);
	xa_erase(&mirror->dev->mirrors, mirror->ctx);
	mutex_unlock(&mirror->dev->mirrors_lock);
}

/**
 * devmodel_mirror_register() - mirror the current address space on a device
 * @dev: the device
 *
 * Return: the mirror, or an ERR_PTR: -EBUSY if there is one already, -EINVAL
 * without an address space, -EIO if the device is lost.
 */
struct devmodel_mirror *devmodel_mirror_register(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	int ret;

	if (!current->mm)
		return ERR_PTR(-EINVAL);
	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mirror->dev = dev;
	mirror->mm = current->mm;
	mmgrab(mirror->mm);
	kref_init(&mirror->ref);
	mutex_init(&mirror->pt_lock);
	mutex_init(&mirror->dmirror_lock);
	mt_init_flags(&mirror->policy, MT_FLAGS_USE_RCU);
	xa_init_flags(&mirror->programs, XA_FLAGS_ALLOC1);
	/* Until the device knows the context there is nothing to stop in it. */
	mirror->stopped = true;

	ret = devmodel_pt_init(mirror);
	if (ret)
		goto err_free;
	ret = mirror_enter(mirror);
	if (ret)
		goto err_pt;
	ret = mmu_interval_notifier_insert(&mirror->notifier, mirror->mm, 0,
					   ULONG_MAX & PAGE_MASK, &mirror_notifier_ops);
	if (ret)
		goto err_leave;
	ret = mirror_create_context(mirror);
	if (ret)
		goto err_notifier;
	mutex_lock(&mirror->pt_lock);
	mirror->stopped = false;
	mutex_unlock(&mirror->pt_lock);
	atomic64_inc(&dev->stats.mirrors);
	trace_devmodel_register(dev->id, mirror->ctx);
	return mirror;

err_notifier:
	mmu_interval_notifier_remove(&mirror->notifier);
err_leave:
	mirror_leave(mirror);
err_pt:
	devmodel_pt_fini(mirror);
err_free:
	mmdrop(mirror->mm);
	kfree(mirror);
	return ERR_PTR(ret);
}

static void mirror_free(struct kref *ref)
{
	struct devmodel_mirror *mirror = container_of(ref, struct devmodel_mirror, ref);

	mutex_lock(&mirror->pt_lock);
	devmodel_pt_fini(mirror);
	mutex_unlock(&mirror->pt_lock);
	mtree_destroy(&mirror->policy);
	xa_destroy(&mirror->programs);
	mmdrop(mirror->mm);
	kfree(mirror);
}

void devmodel_mirror_put(struct devmodel_mirror *mirror)
{
	kref_put(&mirror->ref, mirror_free);
}

/**
 * devmodel_mirror_get() - the mirror of a context, with a reference
 * @dev: the device
 * @ctx: context id, from the device and so perhaps nonsense
 *
 * Return: the mirror or NULL.
 */
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx)
{
	struct devmodel_mirror *mirror;

	mutex_lock(&dev->mirrors_lock);
	mirror = xa_load(&dev->mirrors, ctx);
	if (mirror)
		kref_get(&mirror->ref);
	mutex_unlock(&dev->mirrors_lock);
	return mirror;
}

/**
 * devmodel_mirror_unregister() - the last close
 * @mirror: the mirror; gone afterwards, but for the fault thread's reference
 */
void devmodel_mirror_unregister(struct devmodel_mirror *mirror)
{
	devmodel_mirror_stop(mirror);
	devmodel_programs_drop(mirror);
	mmu_interval_notifier_remove(&mirror->notifier);
	/* Only now may the context id be given out again. */
	mirror_leave(mirror);
	atomic64_dec(&mirror->dev->stats.mirrors);
	devmodel_mirror_put(mirror);
}

/* Stop every mirror of a device that is going away. Their files stay open. */
void devmodel_mirrors_stop(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	unsigned long ctx = 0;

	for (;;) {
		mutex_lock(&dev->mirrors_lock);
		mirror = xa_find_after(&dev->mirrors, &ctx, ULONG_MAX, XA_PRESENT);
		if (mirror)
			kref_get(&mirror->ref);
		mutex_unlock(&dev->mirrors_lock);
		if (!mirror)
			return;
		devmodel_mirror_stop(mirror);
		devmodel_mirror_put(mirror);
	}
}
