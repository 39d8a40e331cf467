/* SPDX-License-Identifier: GPL-2.0 */
/*
 * devmodel: driver for a device with its own MMU, HBM and DMA engine.
 *
 * DOC: Overview
 *
 * One &struct devmodel_dev per PCI function, one &struct devmodel_mirror per
 * open file, which ties one address space to one device. Each C file is one
 * noun: ring, control (synchronous commands), completion, copy (DMA engine),
 * compute (device programs), pagetable (the device's), mirror (notifier events
 * and lifetime), fault (replayable faults), devmem (HBM as struct pages),
 * migrate, policy, snapshot, uapi, stats.
 *
 * DOC: Locking
 *
 * Outermost first; every arrow is taken somewhere:
 *
 *   mmap_lock -> mirror->pt_lock -> dev->control.lock
 *   dev->mirrors_lock is a leaf of its own, as are the spinlocks.
 *
 * pt_lock and control.lock are taken inside the kernel's notifier callbacks,
 * that is under reclaim: nothing may be allocated with GFP_KERNEL under them.
 * dev->alive (SRCU) is held by every request of a program; removal sets
 * dev->gone and waits for it.
 */
#ifndef _DEVMODEL_DRIVER_H
#define _DEVMODEL_DRIVER_H

#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/kref.h>
#include <linux/maple_tree.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "compat.h"
#include "devmodel_abi.h"

/* Pages handled in one go: what one 2 MiB leaf of the page table covers. */
#define DEVMODEL_BATCH		512
/* How long the device may take, and how often we look without an interrupt. */
#define DEVMODEL_TIMEOUT	(10 * HZ)
#define DEVMODEL_LOOK_AGAIN	msecs_to_jiffies(20)

/**
 * struct devmodel_ring - our end of a ring in the shared region
 * @header: the indices, shared; what the device wrote there is not trusted
 * @slots: the entries
 * @entries: how many, a power of two
 * @size: bytes of one entry
 * @index: our own index (produced or consumed); never read back from @header
 */
struct devmodel_ring {
	struct devmodel_ring_header *header;
	void *slots;
	u32 entries;
	u32 size;
	u64 index;
};

/* What the driver counts; the device counts the rest (struct devmodel_counters). */
struct devmodel_driver_stats {
	atomic64_t device_faults;
	atomic64_t device_fault_batches;
	atomic64_t device_faults_failed;
	atomic64_t cpu_faults;
	atomic64_t pages_to_device;
	atomic64_t pages_to_system;
	atomic64_t pages_zeroed;
	atomic64_t pages_failed;
	atomic64_t notifications;
	atomic64_t invalidates;
	atomic64_t pages_dirtied;
	atomic64_t mirrors;
	atomic64_t page_table_pages;
};

/**
 * struct devmodel_devmem - the HBM as struct pages
 * @pagemap: type, range and owner (the device)
 * @resource: the reserved, unbacked address range of a private pagemap
 * @lock: protects @free and @in_use
 * @free: free frames, linked through zone_device_data
 * @in_use: frames that hold a page
 * @ready: the pagemap exists
 */
struct devmodel_devmem {
	struct dev_pagemap pagemap;
	struct resource *resource;
	spinlock_t lock;	/* free, in_use */
	struct page *free;
	unsigned long in_use;
	bool ready;
};

/**
 * struct devmodel_dev - one device
 * @pdev: its PCI function
 * @misc: /dev/devmodelN
 * @dmirror: /dev/hmm_dmirrorN, if the module offers it
 * @ref: held by the PCI binding and by each open file
 * @id: N
 * @doorbell: ivshmem's register
 * @region: the control part of BAR 2
 * @regs: what the device says of itself
 * @driver_regs: what we say
 * @counters: what the device counts
 * @model: memory model in use
 * @peer: ivshmem peer number, read once
 * @number: of the device in its machine, read once
 * @alive: held while a request uses the device
 * @gone: no new request; set once, before waiting for @alive
 * @lost: the device stopped answering or broke the protocol; set once
 * @control_lock: one control command at a time; see DOC: Locking
 * @control: control ring, under @control_lock
 * @submit_lock: protects @copy_ring and @compute_ring
 * @copy_ring: copy lists
 * @compute_ring: launches
 * @completion_lock: protects @completion_ring (hard interrupt)
 * @completion_ring: ends of copies and of programs
 * @waiting: cookie to &struct devmodel_pending
 * @cookie: the last cookie given out
 * @fault_ring: the fault buffer; the fault thread's alone
 * @fault_wait: where the fault thread sleeps
 * @fault_thread: serves faults
 * @mirrors_lock: protects @mirrors
 * @mirrors: context id to mirror
 * @devmem: HBM
 * @stats: counters
 * @debugfs: our directory
 */
struct devmodel_dev {
	struct pci_dev *pdev;
	struct miscdevice misc;
	struct miscdevice dmirror;
	char name[16];
	char dmirror_name[16];
	struct kref ref;
	int id;

	void __iomem *doorbell;
	void *region;
	struct devmodel_device_regs *regs;
	struct devmodel_driver_regs *driver_regs;
	struct devmodel_counters *counters;
	enum devmodel_model model;
	u32 peer;
	u32 number;

	struct srcu_struct alive;
	bool gone;
	bool lost;

	struct mutex control_lock;	/* control */
	struct devmodel_ring control;

	spinlock_t submit_lock;	/* copy_ring, compute_ring */
	struct devmodel_ring copy_ring;
	struct devmodel_ring compute_ring;

	spinlock_t completion_lock;	/* completion_ring */
	struct devmodel_ring completion_ring;
	struct xarray waiting;
	atomic64_t cookie;

	struct devmodel_ring fault_ring;
	wait_queue_head_t fault_wait;
	struct task_struct *fault_thread;

	struct mutex mirrors_lock;	/* mirrors */
	struct xarray mirrors;

	struct devmodel_devmem devmem;
	struct devmodel_driver_stats stats;
	struct dentry *debugfs;
};

/**
 * struct devmodel_span - a range that one request of the test interface works on
 * @start: its beginning
 * @end: its end; 0 for none
 * @faults: device faults in it
 * @error: why the last fault failed
 */
struct devmodel_span {
	unsigned long start;
	unsigned long end;
	unsigned long faults;
	int error;
};

/**
 * struct devmodel_mirror - one address space on one device
 * @dev: the device
 * @mm: the address space; the structure is kept, its users are not
 * @ref: held by the file, and by the fault thread while it serves this mirror
 * @ctx: context id (PASID)
 * @notifier: covers the whole address space
 * @pt_lock: protects the page table and @stopped; see DOC: Locking
 * @root: top page of the device page table
 * @stopped: the device uses this mirror no longer; release() has been
 * @policy: advice by address range, index in pages; has its own lock
 * @programs: handle to &struct devmodel_pending, launches not waited for yet
 * @dmirror_lock: one request of the test interface at a time
 * @span: what that request works on; written before a launch, read by its faults
 */
struct devmodel_mirror {
	struct devmodel_dev *dev;
	struct mm_struct *mm;
	struct kref ref;
	u32 ctx;

	struct mmu_interval_notifier notifier;
	struct mutex pt_lock;	/* root and below, stopped */
	struct page *root;
	bool stopped;

	struct maple_tree policy;
	struct xarray programs;

	struct mutex dmirror_lock;	/* span, the window */
	struct devmodel_span span;

	atomic64_t faults;
	atomic64_t notifications;
	atomic64_t invalidates;
	atomic64_t page_table_pages;
};

/**
 * struct devmodel_pending - something the device has been asked for
 * @ref: held by @dev->waiting and by the one who waits
 * @done: completed by the completion interrupt, or when the device is lost
 * @cookie: its name on the rings
 * @result: the device's answer; valid after @done
 */
struct devmodel_pending {
	struct kref ref;
	struct completion done;
	u64 cookie;
	struct devmodel_completion result;
};

/* ring.c */
int devmodel_ring_init(struct devmodel_dev *dev, struct devmodel_ring *ring,
		       u32 offset, u32 entries, u32 size);
bool devmodel_ring_produce(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   const void *entry);
bool devmodel_ring_consume(struct devmodel_dev *dev, struct devmodel_ring *ring,
			   void *entry);
bool devmodel_ring_pending(struct devmodel_dev *dev, struct devmodel_ring *ring);
void devmodel_ring_arm(struct devmodel_ring *ring);
void devmodel_ring_bell(struct devmodel_dev *dev);
void devmodel_lost(struct devmodel_dev *dev, const char *why);

static inline bool devmodel_is_lost(struct devmodel_dev *dev)
{
	return READ_ONCE(dev->lost);
}

/* control.c */
int devmodel_control(struct devmodel_dev *dev,
		     struct devmodel_control_command *commands, unsigned int count);
int devmodel_control_one(struct devmodel_dev *dev,
			 const struct devmodel_control_command *command);
int devmodel_reset(struct devmodel_dev *dev);

/* completion.c */
void devmodel_completion_init(struct devmodel_dev *dev);
struct devmodel_pending *devmodel_pending_new(struct devmodel_dev *dev);
void devmodel_pending_put(struct devmodel_pending *pending);
void devmodel_pending_forget(struct devmodel_dev *dev,
			     struct devmodel_pending *pending);
void devmodel_pending_fail_all(struct devmodel_dev *dev);
void devmodel_completions(struct devmodel_dev *dev);
long devmodel_pending_wait(struct devmodel_dev *dev,
			   struct devmodel_pending *pending, long timeout,
			   bool interruptible);

/* copy.c */
struct devmodel_copy_list {
	unsigned int count;
	struct devmodel_copy_entry entry[];
};

struct devmodel_copy_list *devmodel_copy_list_new(unsigned int capacity);
void devmodel_copy_list_free(struct devmodel_copy_list *list);
unsigned int devmodel_copy_add(struct devmodel_copy_list *list, u64 src, u64 dst,
			       u32 length);
int devmodel_copy_run(struct devmodel_dev *dev, enum devmodel_copy op,
		      struct devmodel_copy_list **list);

/* compute.c */
int devmodel_launch(struct devmodel_mirror *mirror, struct devmodel_launch *launch);
int devmodel_wait(struct devmodel_mirror *mirror, struct devmodel_wait *wait);
void devmodel_programs_drop(struct devmodel_mirror *mirror);

/* pagetable.c */
int devmodel_pt_init(struct devmodel_mirror *mirror);
void devmodel_pt_fini(struct devmodel_mirror *mirror);
struct devmodel_pt_stash {
	struct page *pages[3];
	unsigned int count;
};

int devmodel_pt_stash_fill(struct devmodel_pt_stash *stash);
void devmodel_pt_stash_free(struct devmodel_pt_stash *stash);
int devmodel_pt_map(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
		    const struct hmm_range *range, bool exclusive);
struct devmodel_pt_count {
	unsigned long entries;
	unsigned long valid;
	unsigned long writable;
};

struct devmodel_pt_count devmodel_pt_count(struct devmodel_mirror *mirror,
					   unsigned long start, unsigned long end);
void devmodel_pt_update(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, u64 pte_mask, bool free_tables);
void devmodel_pt_read(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, u64 *ptes);

/* mirror.c */
struct devmodel_mirror *devmodel_mirror_register(struct devmodel_dev *dev);
void devmodel_mirror_unregister(struct devmodel_mirror *mirror);
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx);
void devmodel_mirror_put(struct devmodel_mirror *mirror);
void devmodel_mirror_stop(struct devmodel_mirror *mirror);
void devmodel_mirrors_stop(struct devmodel_dev *dev);
int devmodel_mirror_fault(struct devmodel_mirror *mirror, unsigned long start,
			  unsigned long end, bool write);
int devmodel_mirror_exclusive(struct devmodel_mirror *mirror, unsigned long start,
			      unsigned long end);

/* fault.c */
void devmodel_span_begin(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end);
unsigned long devmodel_span_end(struct devmodel_mirror *mirror);
int devmodel_fault_thread(void *data);

/* devmem.c */
int devmodel_devmem_init(struct devmodel_dev *dev);
void devmodel_devmem_fini(struct devmodel_dev *dev);
struct page *devmodel_frame_alloc(struct devmodel_dev *dev);
void devmodel_frame_unused(struct page *page);
u64 devmodel_bus_address(struct devmodel_dev *dev, struct page *page);
struct page *devmodel_bus_page(struct devmodel_dev *dev, u64 bus);
bool devmodel_is_hbm(struct devmodel_dev *dev, struct page *page);
struct devmodel_dev *devmodel_owner(struct page *page);
bool devmodel_reaches(struct devmodel_dev *dev, struct page *page);

/* migrate.c */
int devmodel_migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request);
int devmodel_migrate_to_device(struct devmodel_mirror *mirror, unsigned long start,
			       unsigned long end);
vm_fault_t devmodel_migrate_to_ram(struct vm_fault *vmf);
int devmodel_evict_all(struct devmodel_dev *dev);

/* policy.c */
int devmodel_policy_set(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, enum devmodel_policy policy);
enum devmodel_policy devmodel_policy_get(struct devmodel_mirror *mirror,
					 unsigned long address, unsigned long *end);

/* snapshot.c */
int devmodel_cpu_pfns(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, unsigned long *pfns);
int devmodel_snapshot(struct devmodel_mirror *mirror, struct devmodel_snapshot *request);

/* dmirror.c */
int devmodel_dmirror_ioctl(struct devmodel_mirror *mirror, unsigned int request,
			   void __user *user);
int devmodel_dmirror_mmap(struct file *file, struct vm_area_struct *vma);

/* uapi.c */
extern const struct file_operations devmodel_fops;
extern const struct file_operations devmodel_dmirror_fops;
void devmodel_dev_release(struct kref *ref);

/* stats.c */
void devmodel_stats_read(struct devmodel_dev *dev, struct devmodel_mirror *mirror,
			 struct devmodel_stats *stats);
void devmodel_debugfs_add(struct devmodel_dev *dev);
void devmodel_debugfs_init(void);
void devmodel_debugfs_exit(void);

#endif /* _DEVMODEL_DRIVER_H */
