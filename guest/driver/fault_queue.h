/* SPDX-License-Identifier: GPL-2.0 */
/* A mirror's faults that wait for their turn. */
#ifndef _DEVMODEL_FAULT_QUEUE_H
#define _DEVMODEL_FAULT_QUEUE_H

#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "devmodel_abi.h"

struct devmodel_mirror;

/* Fault records of one mirror that wait for their turn. */
#define DEVMODEL_FAULTS_QUEUED	64

/**
 * struct devmodel_fault_queue - a mirror's faults that wait for their turn
 * @lock: protects all but @work and @batch
 * @work: serves them
 * @queued: @work is queued or at work, and holds the mirror
 * @count: of @records
 * @records: in the order in which they came
 * @seq: number of the last record that came, also if it found no room
 * @batch: what is being served; @work's alone
 */
struct devmodel_fault_queue {
	spinlock_t lock;	/* queued, count, records, seq */
	struct work_struct work;
	bool queued;
	unsigned int count;
	struct devmodel_fault_record records[DEVMODEL_FAULTS_QUEUED];
	u64 seq;
	struct devmodel_fault_record batch[DEVMODEL_FAULTS_QUEUED];
};

int devmodel_fault_queues_init(void);
void devmodel_fault_queues_exit(void);
void devmodel_fault_queue_init(struct devmodel_fault_queue *queue);
void devmodel_fault_enqueue(struct devmodel_mirror *mirror,
			    const struct devmodel_fault_record *fault);

#endif /* _DEVMODEL_FAULT_QUEUE_H */
