// SPDX-License-Identifier: GPL-2.0
/*
 * Whose turn it is: a mirror's faults, and the worker that serves them.
 *
 * DOC: Lifetime
 *
 * A worker holds its mirror, and so the device's structure and this module;
 * removal does not wait for it. It finds the mirror stopped, and the device gone.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/workqueue.h>

#include "control.h"
#include "device.h"
#include "fault.h"
#include "fault_queue.h"
#include "mirror.h"

/* One for each mirror that has faults; so many at a time, and each may be stuck for long. */
static struct workqueue_struct *workers;

int devmodel_fault_queues_init(void)
{
	workers = alloc_workqueue("devmodel-faults", WQ_UNBOUND, WQ_MAX_ACTIVE);
	return workers ? 0 : -ENOMEM;
}

void devmodel_fault_queues_exit(void)
{
	destroy_workqueue(workers);
}

static void resume(struct devmodel_mirror *mirror, enum devmodel_control opcode, u64 seq)
{
	struct devmodel_control_command command = {
		.opcode = opcode, .ctx = mirror->ctx, .seq = seq,
	};

	/* Records of a program that has ended meanwhile mean nothing to the device. */
	devmodel_control_one(mirror->dev, &command);
}

/*
 * The records that are queued, up to a batch of them. Return: how many; @seq is
 * the number of the last record that came, which may not have found room.
 */
static unsigned int take(struct devmodel_fault_queue *queue,
			 struct devmodel_fault_record *batch, u64 *seq)
{
	unsigned int count;

	spin_lock(&queue->lock);
	count = queue->count;
	memcpy(batch, queue->records, count * sizeof(*batch));
	queue->count = 0;
	*seq = queue->seq;
	/* The next record queues the work again. */
	queue->queued = count;
	spin_unlock(&queue->lock);
	return count;
}

static void serve_batch(struct devmodel_mirror *mirror,
			const struct devmodel_fault_record *batch, unsigned int count, u64 seq)
{
	struct devmodel_dev *dev = mirror->dev;
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		ret = READ_ONCE(mirror->stopped) ? -ESRCH :
			devmodel_fault_serve(mirror, &batch[i]);
		/*
		 * A range that would not hold still (on a host that is short
		 * of processors a second is soon over) is no error of the
		 * program's: its replay faults again.
		 */
		if (!ret || ret == -EBUSY)
			continue;
		resume(mirror, DEVMODEL_CONTROL_CANCEL, batch[i].seq);
	}
	atomic64_add(count, &dev->stats.device_faults);
	resume(mirror, DEVMODEL_CONTROL_REPLAY, seq);
}

static void serve(struct work_struct *work)
{
	struct devmodel_mirror *mirror =
		container_of(work, struct devmodel_mirror, fault_queue.work);
	struct mem_cgroup *memcg, *old;
	unsigned int count;
	u64 seq;

	/* What is allocated here is for that process, and is charged to it. */
	memcg = get_mem_cgroup_from_mm(mirror->mm);
	old = set_active_memcg(memcg);
	count = take(&mirror->fault_queue, mirror->fault_queue.batch, &seq);
	if (count)
		serve_batch(mirror, mirror->fault_queue.batch, count, seq);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	/* Others have their turn before the next batch. */
	if (count)
		queue_work(workers, work);
	else
		devmodel_mirror_put(mirror);
}

/**
 * devmodel_fault_queue_init() - the empty queue of a new mirror
 * @queue: the queue
 */
void devmodel_fault_queue_init(struct devmodel_fault_queue *queue)
{
	spin_lock_init(&queue->lock);
	INIT_WORK(&queue->work, serve);
}

/**
 * devmodel_fault_enqueue() - put a fault into its mirror's queue
 * @mirror: the mirror
 * @fault: what the device wrote
 */
void devmodel_fault_enqueue(struct devmodel_mirror *mirror,
			    const struct devmodel_fault_record *fault)
{
	struct devmodel_fault_queue *queue = &mirror->fault_queue;
	bool idle;

	spin_lock(&queue->lock);
	queue->seq = fault->seq;
	if (queue->count < DEVMODEL_FAULTS_QUEUED)
		queue->records[queue->count++] = *fault;
	idle = !queue->queued;
	queue->queued = true;
	spin_unlock(&queue->lock);
	/* The worker puts the mirror once it finds no record. */
	if (idle) {
		kref_get(&mirror->ref);
		queue_work(workers, &queue->work);
	}
}
