// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: pages go home to system memory, to make room or because the device
 * goes away.
 *
 * DOC: Order
 *
 * A clock, also called second chance: a hand goes round over the frames, in
 * order of their numbers. A frame that the device has used since the hand
 * passed is passed once more; another one goes. That is an approximation of
 * least recently used, from what the hardware tells: ACCESSED in the entries
 * of the device's page tables, collected (and cleared in the device) at the
 * beginning of each eviction. What CPUs and other devices do with coherent
 * pages is not seen.
 *
 * DOC: Progress
 *
 * Eviction takes no mmap_lock, since the pages may be anybody's, and runs under
 * none: who finds no frame lets go of what he has collected, evicts, and
 * collects again. It never waits for a page that somebody else has locked, and
 * goes round twice at most.
 */
#include <linux/bitmap.h>
#include <linux/sched/mm.h>

#include "compat.h"
#include "context.h"
#include "control.h"
#include "device.h"
#include "evict.h"
#include "hbm.h"
#include "migration.h"
#include "mirror.h"
#include "poison.h"
#include "state.h"
#include "trace.h"
#include "walk.h"

/* Pages to move out at least, so that not each single page costs a round. */
#define EVICT_BATCH	256

static unsigned long hbm_frame(u64 entry)
{
	return (entry & DEVMODEL_PTE_ADDRESS) >> PAGE_SHIFT;
}

static bool in_own_hbm(u64 entry)
{
	return (entry & DEVMODEL_PTE_APERTURE) >> DEVMODEL_PTE_APERTURE_SHIFT ==
	       DEVMODEL_APERTURE_HBM;
}

/* Have the device clear ACCESSED in the region at walk->first, if there is one. */
static void age_region(struct pt_walk *walk)
{
	struct devmodel_control_command command = {
		.opcode = DEVMODEL_CONTROL_AGE,
		.ctx = walk->mirror->ctx,
		.va = walk->first,
		.length = (u64)DEVMODEL_AGE_PAGES << PAGE_SHIFT,
	};

	if (walk->count)
		devmodel_control_one(walk->mirror->dev, &command);
}

/* What has been used; walk->first is the 2 MiB region that is to be aged next. */
static void visit_age(struct pt_walk *walk, struct page *table, u64 *entry,
		      unsigned long address, int level)
{
	u64 value = READ_ONCE(*entry);
	unsigned long i;

	if (!(value & DEVMODEL_PTE_ACCESSED) || !in_own_hbm(value))
		return;
	for (i = 0; i < BIT(level * DEVMODEL_LEVEL_BITS); i++)
		set_bit(hbm_frame(value) + i, walk->young);
	if (walk->count && walk->first == (address & ~(PT_LEAF_SIZE - 1)))
		return;
	age_region(walk);
	walk->first = address & ~(PT_LEAF_SIZE - 1);
	walk->count = 1;
}

/* Into @young, a bit for each frame; the device begins to note anew. pt_lock is held. */
static void collect_of(struct devmodel_mirror *mirror, unsigned long *young)
{
	struct pt_walk walk = {
		.mirror = mirror, .end = ULONG_MAX, .young = young, .visit = visit_age,
	};

	pt_walk(&walk);
	age_region(&walk);
}

/* Which frames has the device used, through any mirror? Into devmem->young. */
static void collect_accessed(struct devmodel_dev *dev)
{
	struct devmodel_mirror *mirror;
	unsigned long ctx = 0;

	while ((mirror = devmodel_mirror_next(dev, &ctx))) {
		mutex_lock(&mirror->pt_lock);
		if (!mirror->stopped && devmodel_context_is_known(mirror))
			collect_of(mirror, dev->devmem.young);
		mutex_unlock(&mirror->pt_lock);
		devmodel_mirror_put(mirror);
	}
}

/* Has any of these frames been used? Not from now on. */
static bool pass(struct devmodel_devmem *devmem, unsigned long frame, unsigned long count)
{
	bool young = false;

	while (count--)
		young |= test_and_clear_bit(frame + count, devmem->young);
	return young;
}

/*
 * How many frames from here on are one page? Nothing keeps that from changing
 * under our eyes. The kernel then does not take the frames as they are told to
 * it, and the hand comes round again.
 */
static unsigned long page_frames(struct devmodel_dev *dev, unsigned long frame)
{
	struct page *page = pfn_to_page(devmodel_first_pfn(dev) + frame);
	struct folio *folio = page_folio(page);

	return folio_page(folio, 0) == page && folio_order(folio) == DEVMODEL_LEVEL_BITS &&
	       IS_ALIGNED(frame, DEVMODEL_BATCH) ? DEVMODEL_BATCH : 1;
}

/*
 * Move the hand on until it found @wanted frames that may go, or a huge page,
 * which is a batch by itself.
 * Return: how many it found; @left is how far it may still go.
 */
static unsigned long choose(struct devmodel_dev *dev, unsigned long *pfns,
			    unsigned long wanted, unsigned long *left)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long found = 0, count, i;

	lockdep_assert_held(&devmem->clock_lock);
	for (; *left && found < wanted; *left -= min(*left, count)) {
		unsigned long frame = devmem->hand;

		count = page_frames(dev, frame);
		if (count > 1 && found)
			break;
		devmem->hand = (frame + count) % devmem->frames;
		if (!test_bit(frame, devmem->used) || pass(devmem, frame, count))
			continue;
		for (i = 0; i < count; i++)
			pfns[found++] = devmodel_first_pfn(dev) + frame + i;
	}
	return found;
}

static unsigned long go_round(struct devmodel_dev *dev, struct migration *batch,
			      unsigned long wanted)
{
	unsigned long left = 2 * dev->devmem.frames, moved = 0, count;

	while (moved < wanted && left && !migration_broken(batch)) {
		count = choose(dev, batch->src, min_t(unsigned long, wanted - moved,
						      batch->capacity), &left);
		if (count)
			moved += migration_run_frames(batch, count);
	}
	return moved;
}

/**
 * devmodel_evict() - make room in HBM
 * @dev: the device
 * @wanted: frames, at most DEVMODEL_BATCH
 *
 * No mmap_lock is held. A node's pages are the kernel's to reclaim.
 *
 * Return: how many frames are free, if any are; 0: no page would go.
 */
unsigned long devmodel_evict(struct devmodel_dev *dev, unsigned long wanted)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long least = min_t(unsigned long, EVICT_BATCH, devmem->frames / 8);
	unsigned long moved = 0, room;
	struct migration *batch;

	if (devmodel_is_node(dev))
		return 0;
	batch = migration_new(DEVMODEL_BATCH);
	if (!batch)
		return 0;
	migration_aim(batch, dev, NULL);
	batch->evicting = true;
	mutex_lock(&devmem->clock_lock);
	room = devmodel_hbm_room(dev);
	/* Somebody else may just have made some. */
	if (room < wanted && devmem->ready && !devmodel_is_lost(dev)) {
		collect_accessed(dev);
		moved = go_round(dev, batch, max(wanted - room, least));
		room = devmodel_hbm_room(dev);
		trace_devmodel_evict(dev->id, wanted, moved, room);
	}
	mutex_unlock(&devmem->clock_lock);
	migration_free(batch);
	return room;
}

/* Which of a stretch of frames are to go? Those of a huge page all or none. */
static unsigned long pick(struct devmodel_dev *dev, unsigned long *pfns, unsigned long frame,
			  unsigned long count, bool lost_only)
{
	unsigned long *lost = dev->devmem.lost, found = 0, i;
	bool any = !lost_only || find_next_bit(lost, frame + count, frame) < frame + count;
	bool all = !lost_only || (any && page_frames(dev, frame) == count);

	for (i = 0; any && i < count; i++)
		if (all || test_bit(frame + i, lost))
			pfns[found++] = devmodel_first_pfn(dev) + frame + i;
	return found;
}

/* Have pages leave HBM, whoever maps them. Return: 0 or -ENOMEM. */
static int leave(struct devmodel_dev *dev, bool lost_only)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	unsigned long lost = bitmap_weight(devmem->lost, devmem->frames);
	unsigned long frame, step, count;
	struct migration *batch;

	/* Each may be a huge page, if there are so many. */
	if (devmodel_poison_reserve(lost, !MIGRATE_VMA_SELECT_COMPOUND ? 0 :
				    min(lost, READ_ONCE(devmem->in_use) / DEVMODEL_BATCH)))
		return -ENOMEM;
	batch = migration_new(DEVMODEL_BATCH);
	if (!batch)
		return -ENOMEM;
	migration_aim(batch, dev, NULL);
	for (frame = 0; frame < devmem->frames && READ_ONCE(devmem->in_use); frame += step) {
		step = min_t(unsigned long, devmem->frames - frame, DEVMODEL_BATCH);
		mutex_lock(&devmem->clock_lock);
		count = devmem->ready ? pick(dev, batch->src, frame, step, lost_only) : 0;
		if (count)
			migration_run_frames(batch, count);
		mutex_unlock(&devmem->clock_lock);
		if (migration_broken(batch))
			break;
		cond_resched();
	}
	migration_free(batch);
	return 0;
}

/**
 * devmodel_evict_all() - bring every page in HBM back to system memory
 * @dev: the device
 *
 * Those that have lost their bytes go, too.
 *
 * Return: 0, or -EBUSY if pages would not go.
 */
int devmodel_evict_all(struct devmodel_dev *dev)
{
	int ret;

	if (!dev->devmem.ready || devmodel_is_node(dev))
		return 0;
	ret = leave(dev, false);
	if (ret)
		return ret;
	return READ_ONCE(dev->devmem.in_use) ? -EBUSY : 0;
}

/**
 * devmodel_evict_lost() - have the pages go that have lost their bytes
 * @dev: the device; it is not being removed, or the caller does that
 *
 * Return: 0, -EBUSY if pages would not go, or -ENOMEM.
 */
int devmodel_evict_lost(struct devmodel_dev *dev)
{
	struct devmodel_devmem *devmem = &dev->devmem;
	int ret;

	if (!READ_ONCE(devmem->ready) || bitmap_empty(devmem->lost, devmem->frames))
		return 0;
	ret = leave(dev, true);
	if (ret)
		return ret;
	return bitmap_empty(devmem->lost, devmem->frames) ? 0 : -EBUSY;
}

/* The work of devmem->lost_work. */
void devmodel_evict_lost_work(struct work_struct *work)
{
	struct devmodel_devmem *devmem =
		container_of(to_delayed_work(work), struct devmodel_devmem, lost_work);
	struct devmodel_dev *dev = container_of(devmem, struct devmodel_dev, devmem);

	if (devmodel_evict_lost(dev) && !READ_ONCE(dev->leaving))
		queue_delayed_work(system_dfl_wq, &devmem->lost_work, DEVMODEL_LOST_AGAIN);
}
