// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver tells the coherence oracle (docs/oracle.md): every mapping,
 * every right that is taken away, all dirty state that is collected, every frame
 * given out and taken back. The records go to the device over the trace ring,
 * which is there if the device was started with tracing; the device puts them
 * into one file with its own.
 *
 * Called under pt_lock and in the callback that frees a page, so nothing here
 * sleeps: the device takes the records whatever else it does.
 */
#include <linux/delay.h>
#include <linux/ktime.h>

#include "device.h"
#include "mirror.h"
#include "oracle.h"
#include "ring.h"
#include "state.h"

#define TIMEOUT_NS	(10 * NSEC_PER_SEC)

/* The last one's, of the records of all devices. Time goes on over a reload. */
static atomic64_t sequence;

/* The time, in the order of calls: no two get the same. */
static u64 next_moment(void)
{
	s64 last = atomic64_read(&sequence), now;

	do {
		now = max_t(s64, ktime_get_ns(), last + 1);
	} while (!atomic64_try_cmpxchg(&sequence, &last, now));
	return now;
}

/**
 * devmodel_oracle_write() - put one record on the trace ring
 * @dev: the device
 * @record: what to say; @seq is filled in, and @control unless the caller did
 *
 * If the ring is full this waits for the device. A lost device hears nothing.
 */
void devmodel_oracle_write(struct devmodel_dev *dev, struct devmodel_trace_record record)
{
	u64 start = ktime_get_ns();
	unsigned long flags;
	bool written;
	int idx;

	if (!devmodel_enter(dev, &idx))
		return;
	if (!record.control)
		record.control = READ_ONCE(dev->control.index);
	while (!devmodel_is_lost(dev)) {
		spin_lock_irqsave(&dev->trace_lock, flags);
		record.seq = next_moment();
		written = !devmodel_is_lost(dev) &&
			  devmodel_ring_produce(dev, &dev->trace_ring, &record);
		spin_unlock_irqrestore(&dev->trace_lock, flags);
		if (written)
			break;
		if (ktime_get_ns() - start > TIMEOUT_NS)
			devmodel_lost(dev, "its trace ring stays full");
		devmodel_bell(dev);
		udelay(5);
	}
	devmodel_exit(dev, idx);
}

/* One run of entries is about to be made: @pte is the first. */
void devmodel_oracle_map(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long npages, u64 pte)
{
	const u64 bus = DEVMODEL_PTE_ADDRESS | DEVMODEL_PTE_APERTURE;

	devmodel_oracle_write(mirror->dev, (struct devmodel_trace_record) {
		.kind = DEVMODEL_TRACE_MAP,
		.ctx = mirror->ctx,
		.va = start,
		.npages = npages,
		.bus = pte & bus,
		.rights = pte & ~bus,
	});
}

/* What the device wrote to these pages was collected; devmodel_oracle_update() follows. */
void devmodel_oracle_dirty(struct devmodel_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	devmodel_oracle_write(mirror->dev, (struct devmodel_trace_record) {
		.kind = DEVMODEL_TRACE_DIRTY,
		.ctx = mirror->ctx,
		.va = start,
		.npages = (end - start) >> PAGE_SHIFT,
	});
}

/* Rights were taken away, the device has acknowledged, dirty state is collected. */
void devmodel_oracle_update(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end, u64 pte_mask)
{
	devmodel_oracle_write(mirror->dev, (struct devmodel_trace_record) {
		.kind = DEVMODEL_TRACE_UPDATE,
		.ctx = mirror->ctx,
		.va = start,
		.npages = (end - start) >> PAGE_SHIFT,
		.rights = pte_mask,
		.control = mirror->stopped ? DEVMODEL_TRACE_NONE : 0,
	});
}

/* Under which model the device is driven: in some, frames are the kernel's to give. */
void devmodel_oracle_model(struct devmodel_dev *dev)
{
	if (!devmodel_oracle_listens(dev))
		return;
	devmodel_oracle_write(dev, (struct devmodel_trace_record) {
		.kind = DEVMODEL_TRACE_MODEL,
		.other = dev->model,
	});
}

/* The mirror can be used from now on (REGISTER), or not any more (RELEASE). */
void devmodel_oracle_mirror(struct devmodel_mirror *mirror, enum devmodel_trace kind)
{
	if (!devmodel_oracle_listens(mirror->dev))
		return;
	devmodel_oracle_write(mirror->dev, (struct devmodel_trace_record) {
		.kind = kind,
		.ctx = mirror->ctx,
		.other = (unsigned long)mirror->mm,
	});
}

/* Frames of HBM were given out (FRAME_ALLOC), or are about to be free (FRAME_FREE). */
void devmodel_oracle_frames(struct devmodel_dev *dev, enum devmodel_trace kind,
			    u64 bus, unsigned long npages)
{
	if (!devmodel_oracle_listens(dev))
		return;
	devmodel_oracle_write(dev, (struct devmodel_trace_record) {
		.kind = kind,
		.bus = bus,
		.npages = npages,
	});
}
