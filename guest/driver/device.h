/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One device: what all of the driver's files know of it. Each of them is one noun
 * with a header of its own, and calls only what docs/driver.md ("What is where")
 * has below it.
 *
 * DOC: Locking
 *
 * Outermost first; every arrow is taken somewhere:
 *
 *   mmap_lock -> mirror->pt_lock -> dev->control_lock
 *   devmem->clock_lock -> mirror->pt_lock
 *   Under dev->mirrors_lock nothing but memory is asked for, and nobody takes it
 *   in reclaim. The spinlocks are leaves.
 *
 * pt_lock and control_lock are taken inside the kernel's notifier callbacks,
 * that is under reclaim: nothing may be allocated with GFP_KERNEL under them.
 * dev->alive (SRCU) is held by whoever uses the region, and by nobody who waits
 * for a user's memory; see DOC: Removal in state.c.
 */
#ifndef _DEVMODEL_DEVICE_H
#define _DEVMODEL_DEVICE_H

#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "counters.h"
#include "devmem.h"
#include "devmodel_abi.h"
#include "ring.h"
#include "touch.h"

/* Pages handled in one go: what one 2 MiB leaf of a device's page table covers. */
#define DEVMODEL_BATCH		512

/* Devices of one machine at most. */
#define DEVMODEL_DEVICES	64

/**
 * struct devmodel_dev - one device
 * @pdev: its PCI function
 * @misc: /dev/devmodelN
 * @dmirror: /dev/hmm_dmirrorN, if the module offers it
 * @ref: held by the PCI binding and by each open file
 * @id: N
 * @doorbell: ivshmem's register
 * @region: the control part of BAR 2
 * @regs: what the device says of itself; state.c's alone, once it is known
 * @identity: what it said at bring-up, checked
 * @driver_regs: what we say
 * @counters: what the device counts
 * @model: memory model in use
 * @alive: held while the region is used; see DOC: Removal in state.c
 * @leaving: no new request, no new page; set once
 * @gone: no use of the region any more; set once
 * @lost: the device stopped answering or broke the protocol; see DOC: States
 * @lost_since: when that was, in jiffies
 * @generation: lives of the device so far, as we have taken them on
 * @back: where those sleep who wait for its next life
 * @control_lock: one control command at a time; see DOC: Locking
 * @control: control ring, under @control_lock
 * @submit_lock: protects @copy_ring and @compute_ring
 * @copy_ring: copy lists
 * @compute_ring: launches
 * @completion_lock: protects @completion_ring and @completed (hard interrupt)
 * @completion_ring: ends of copies and of programs
 * @submitted: commands that are answered by one completion each
 * @completed: completions so far
 * @waiting: cookie to &struct devmodel_pending
 * @cookie: the last cookie given out
 * @trace_lock: protects @trace_ring (interrupts too)
 * @trace_ring: what we tell the coherence oracle; no entries: it does not listen
 * @fault_ring: the fault buffer; the fault thread's alone
 * @fault_wait: where the fault thread sleeps
 * @fault_thread: sorts faults
 * @mirrors_lock: protects @mirrors
 * @mirrors: context id to mirror, also of those whose file is closed
 * @aside: pages that a lost device may still write to, see aside.c
 * @devmem: HBM
 * @fail_alloc: the next page or frame that a migration wants is not to be had;
 *	for tests
 * @touches: by thread; guesses, written without a lock
 * @stats: counters
 * @debugfs: our directory
 */
struct devmodel_dev {
	struct pci_dev *pdev;
	struct miscdevice misc;
	struct miscdevice dmirror;
	char name[24];
	char dmirror_name[24];
	struct kref ref;
	int id;

	void __iomem *doorbell;
	void *region;
	struct devmodel_device_regs *regs;
	struct devmodel_device_regs identity;
	struct devmodel_driver_regs *driver_regs;
	struct devmodel_counters *counters;
	enum devmodel_model model;

	struct srcu_struct alive;
	bool leaving;
	bool gone;
	bool lost;
	unsigned long lost_since;
	u32 generation;
	wait_queue_head_t back;

	struct mutex control_lock;	/* control */
	struct devmodel_ring control;

	spinlock_t submit_lock;	/* copy_ring, compute_ring */
	struct devmodel_ring copy_ring;
	struct devmodel_ring compute_ring;

	spinlock_t completion_lock;	/* completion_ring, completed */
	struct devmodel_ring completion_ring;
	atomic64_t submitted;
	s64 completed;
	struct xarray waiting;
	atomic64_t cookie;

	spinlock_t trace_lock;	/* trace_ring */
	struct devmodel_ring trace_ring;

	struct devmodel_ring fault_ring;
	wait_queue_head_t fault_wait;
	struct task_struct *fault_thread;

	struct mutex mirrors_lock;	/* mirrors */
	struct xarray mirrors;

	struct xarray aside;

	struct devmodel_devmem devmem;
	bool fail_alloc;
	struct devmodel_touches touches[DEVMODEL_TOUCHERS];
	struct devmodel_driver_stats stats;
	struct dentry *debugfs;
};

struct devmodel_dev *devmodel_dev_new(struct pci_dev *pdev);
void devmodel_dev_put(struct devmodel_dev *dev);

static inline bool devmodel_is_node(const struct devmodel_dev *dev)
{
	return dev->model == DEVMODEL_MODEL_NUMA || dev->model == DEVMODEL_MODEL_CDM;
}

#endif /* _DEVMODEL_DEVICE_H */
