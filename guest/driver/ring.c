// SPDX-License-Identifier: GPL-2.0
/*
 * Rings in the shared region: single producer, single consumer.
 *
 * The device is another program: its index is read once, checked against ours,
 * and one that cannot be is the end of that device, not of the kernel. The
 * virt_*() barriers are the right ones: the other side is a process of the
 * host, there whether or not this kernel is SMP.
 */
#include <linux/log2.h>

#include "device.h"
#include "ring.h"
#include "state.h"

/**
 * devmodel_ring_init() - take a ring at the place that the device names
 * @dev: the device
 * @ring: what to fill in
 * @offset: in BAR 2, from the device
 * @entries: from the device
 * @size: bytes of an entry, ours
 *
 * Return: 0, or -EPROTO if the ring would not lie within the control part.
 */
int devmodel_ring_init(struct devmodel_dev *dev, struct devmodel_ring *ring,
		       u32 offset, u32 entries, u32 size)
{
	u64 end = (u64)offset + sizeof(*ring->header) + (u64)entries * size;

	if (!is_power_of_2(entries) || offset < DEVMODEL_RING_BASE ||
	    !IS_ALIGNED(offset, 64) || end > DEVMODEL_CONTROL_REGION) {
		dev_err(&dev->pdev->dev, "ring at %#x with %u entries is not possible\n",
			offset, entries);
		return -EPROTO;
	}
	ring->header = dev->region + offset;
	ring->slots = dev->region + offset + sizeof(*ring->header);
	ring->entries = entries;
	ring->size = size;
	ring->index = 0;
	return 0;
}

static void *ring_slot(struct devmodel_ring *ring, u64 index)
{
	return ring->slots + (index & (ring->entries - 1)) * ring->size;
}

/**
 * devmodel_ring_produce() - put one entry on a ring towards the device
 * @dev: the device
 * @ring: the ring; the caller holds its lock
 * @entry: @ring->size bytes
 *
 * Return: false if the ring is full.
 */
bool devmodel_ring_produce(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   const void *entry)
{
	/* The device has read what it consumed: its slots may be written. */
	u64 consumed = virt_load_acquire(&ring->header->consumed);
	u64 old = ring->index;

	if (old - consumed > ring->entries) {
		devmodel_lost(dev, "it moved a consumer index where none can be");
		return false;
	}
	if (old - consumed == ring->entries)
		return false;
	memcpy(ring_slot(ring, old), entry, ring->size);
	ring->index = old + 1;
	/* The payload first, the index last. */
	virt_store_release(&ring->header->produced, ring->index);
	/* The index must be out before we read whether it wants a doorbell. */
	virt_mb();
	if (READ_ONCE(ring->header->event) == old)
		devmodel_bell(dev);
	return true;
}

/* Is there something to take from a ring towards us? */
bool devmodel_ring_pending(struct devmodel_dev *dev, struct devmodel_ring *ring)
{
	/* Entries below the index are whole. */
	u64 produced = virt_load_acquire(&ring->header->produced);

	if (produced - ring->index > ring->entries) {
		devmodel_lost(dev, "it moved a producer index where none can be");
		return false;
	}
	return produced != ring->index;
}

/**
 * devmodel_ring_consume() - take one entry from a ring towards us
 * @dev: the device
 * @ring: the ring; the caller holds its lock
 * @entry: where to copy @ring->size bytes; the slot is the device's again after
 *
 * Return: false if the ring is empty.
 */
bool devmodel_ring_consume(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   void *entry)
{
	if (!devmodel_ring_pending(dev, ring))
		return false;
	memcpy(entry, ring_slot(ring, ring->index), ring->size);
	ring->index++;
	/* We are done with the slot before the device may have it. */
	virt_store_release(&ring->header->consumed, ring->index);
	return true;
}

/* Ask for a doorbell with the next entry; look at the ring once more afterwards. */
void devmodel_ring_arm(struct devmodel_ring *ring)
{
	WRITE_ONCE(ring->header->event, ring->index);
	/* The wish must be out before we look whether it came too late. */
	virt_mb();
}
