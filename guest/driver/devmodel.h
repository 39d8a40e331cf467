/* SPDX-License-Identifier: GPL-2.0 */
/*
 * devmodel: driver for a device with its own MMU, HBM and DMA engine.
 *
 * DOC: Overview
 *
 * One &struct devmodel_dev per PCI function, one &struct devmodel_mirror per
 * open file, which ties one address space to one device. Each C file is one
 * noun: state (who may use the device, does it answer), ring, control
 * (synchronous commands), completion, copy (DMA engine), compute (device
 * programs), pagetable (the device's), mirror (notifier events and lifetime),
 * range (what the kernel maps), fault (what one asks for), fault_buffer (whose
 * turn it is), exclusive (atomics), devmem (HBM as struct pages), migration (a
 * batch of pages on its way), migrate (ranges), evict, touch (a CPU's), policy,
 * snapshot, uapi, stats, oracle (what is told to the checker).
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
 * pt_lock and control.lock are taken inside the kernel's notifier callbacks,
 * that is under reclaim: nothing may be allocated with GFP_KERNEL under them.
 * dev->alive (SRCU) is held by whoever uses the region, and by nobody who waits
 * for a user's memory; see DOC: Removal in state.c.
 */
#ifndef _DEVMODEL_DRIVER_H
#define _DEVMODEL_DRIVER_H

#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/kref.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rbtree.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "devmodel_abi.h"

/* Pages handled in one go: what one 2 MiB leaf of the page table covers. */
#define DEVMODEL_BATCH		512
/* How long a device that was given up may take to come back. */
#define DEVMODEL_RETURN		(20 * HZ)

/* Devices of one machine at most, and contexts of one user's on one device. */
#define DEVMODEL_DEVICES	64
#define DEVMODEL_CONTEXTS_PER_USER	256
/* Fault records of one mirror that wait for their turn. */
#define DEVMODEL_FAULTS_QUEUED	64

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
	atomic64_t pages_evicted;
	atomic64_t pages_from_peer;
	atomic64_t pages_to_peer;
	atomic64_t pages_zeroed;
	atomic64_t pages_failed;
	atomic64_t notifications;
	atomic64_t invalidates;
	atomic64_t pages_dirtied;
	atomic64_t mirrors;
	atomic64_t page_table_pages;
};

/**
 * struct devmodel_node - the HBM as a NUMA node
 * @nid: the node
 * @start_pfn: its first page
 * @end_pfn: after its last page
 * @tier: memory type that puts it into a tier of its own; NULL with model=cdm
 * @name: what the kernel calls the memory
 */
struct devmodel_node {
	int nid;
	unsigned long start_pfn;
	unsigned long end_pfn;
	struct memory_dev_type *tier;
	const char *name;
};

/**
 * struct devmodel_devmem - the HBM as struct pages
 * @pagemap: type, range and owner (the device)
 * @resource: the reserved, unbacked address range of a private pagemap
 * @node: the node, in the models that make it one; there is no pagemap then
 * @frames: how many there are; they are numbered from 0
 * @lock: protects @used, @lowest and @in_use
 * @used: which frames hold a page
 * @lowest: no frame below is free
 * @in_use: frames that hold a page
 * @empty: woken when none does any more
 * @clock_lock: one eviction at a time; protects @hand
 * @hand: the frame that eviction looks at next
 * @young: frames that the device has used since the hand passed
 * @ready: the pagemap exists
 */
struct devmodel_devmem {
	struct dev_pagemap pagemap;
	struct resource *resource;
	struct devmodel_node node;
	unsigned long frames;
	spinlock_t lock;	/* used, lowest, in_use */
	unsigned long *used;
	unsigned long lowest;
	unsigned long in_use;
	wait_queue_head_t empty;
	struct mutex clock_lock;	/* hand */
	unsigned long hand;
	unsigned long *young;
	bool ready;
};

/* Threads whose touches of private pages are told apart. */
#define DEVMODEL_TOUCHERS	16

/**
 * struct devmodel_touches - touches of private pages by one thread (or some)
 * @next: the address where the pages brought last end
 * @pages: how many they were
 */
struct devmodel_touches {
	unsigned long next;
	unsigned int pages;
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
 * @pages_aside: how many they are
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
	atomic64_t pages_aside;

	struct devmodel_devmem devmem;
	bool fail_alloc;
	struct devmodel_touches touches[DEVMODEL_TOUCHERS];
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

/**
 * struct devmodel_mirror - one address space on one device
 * @dev: the device
 * @mm: the address space; the structure is kept, its users are not
 * @owner: who made it
 * @ref: held by the file, and by the worker while it serves faults
 * @ctx: context id (PASID)
 * @notifier: covers the whole address space
 * @pt_lock: protects the page table, @generation, @ending, @stopped and @released;
 *	see DOC: Locking
 * @generation: the life of the device that knows this context
 * @root: top page of the device page table
 * @closed: its file is; under dev->mirrors_lock
 * @ending: it is about to be stopped, no page is claimed for the device alone any more
 * @stopped: the device uses this mirror no longer
 * @released: and release() has been
 * @policy_lock: protects @policy and @policy_ranges
 * @policy: advice by address range, index in pages
 * @policy_ranges: how many there are
 * @programs: handle to &struct devmodel_pending, launches not waited for yet
 * @fault_queue: faults that wait for their turn
 * @dmirror_lock: one request of the test interface at a time
 * @span: what that request works on; written before a launch, read by its faults
 */
struct devmodel_mirror {
	struct devmodel_dev *dev;
	struct mm_struct *mm;
	kuid_t owner;
	bool closed;
	struct kref ref;
	u32 ctx;

	struct mmu_interval_notifier notifier;
	struct mutex pt_lock;	/* root and below, generation, ending, stopped, released */
	struct page *root;
	u32 generation;
	bool ending;
	bool stopped;
	bool released;

	spinlock_t policy_lock;	/* policy, policy_ranges */
	struct rb_root_cached policy;
	unsigned int policy_ranges;
	struct xarray programs;
	struct devmodel_fault_queue fault_queue;

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
 * @generation: the life of the device that was asked
 * @result: the device's answer; valid after @done
 */
struct devmodel_pending {
	struct kref ref;
	struct completion done;
	u64 cookie;
	u32 generation;
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

/* state.c */
bool devmodel_enter(struct devmodel_dev *dev, int *idx);
void devmodel_exit(struct devmodel_dev *dev, int idx);
void devmodel_leave(struct devmodel_dev *dev);
void devmodel_gone(struct devmodel_dev *dev);
int devmodel_go_on(struct devmodel_dev *dev);
void devmodel_bell(struct devmodel_dev *dev);
int devmodel_reset(struct devmodel_dev *dev);
void devmodel_lost(struct devmodel_dev *dev, const char *why);
bool devmodel_may_write(struct devmodel_dev *dev);
bool devmodel_may_return(struct devmodel_dev *dev);
bool devmodel_await(struct devmodel_dev *dev);
bool devmodel_recover(struct devmodel_dev *dev);
u64 devmodel_heartbeat(struct devmodel_dev *dev);
bool devmodel_answers(struct devmodel_dev *dev);

static inline bool devmodel_is_lost(struct devmodel_dev *dev)
{
	/* Pairs with devmodel_recover(). */
	return smp_load_acquire(&dev->lost);
}

/* aside.c */
void devmodel_put_page(struct devmodel_dev *dev, struct page *page);
void devmodel_hold_page(struct devmodel_dev *dev, struct page *page);
bool devmodel_aside_end(struct devmodel_dev *dev);

/* control.c */
int devmodel_control(struct devmodel_dev *dev,
		     struct devmodel_control_command *commands, unsigned int count);
int devmodel_control_one(struct devmodel_dev *dev,
			 const struct devmodel_control_command *command);

/* completion.c */
void devmodel_completion_init(struct devmodel_dev *dev);
struct devmodel_pending *devmodel_pending_new(struct devmodel_dev *dev);
void devmodel_pending_put(struct devmodel_pending *pending);
void devmodel_pending_forget(struct devmodel_dev *dev,
			     struct devmodel_pending *pending);
bool devmodel_submit(struct devmodel_dev *dev, struct devmodel_ring *ring,
		     const void *command, struct devmodel_pending *pending);
bool devmodel_completions(struct devmodel_dev *dev);
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
void devmodel_pt_read(struct devmodel_mirror *mirror, unsigned long start,
		      unsigned long end, u64 *ptes);
bool devmodel_pt_exclusive(struct devmodel_mirror *mirror, unsigned long *start,
			   unsigned long end);

/* update.c */
void devmodel_pt_update(struct devmodel_mirror *mirror, unsigned long start,
			unsigned long end, u64 pte_mask, bool free_tables);

/* mirror.c */
struct devmodel_mirror *devmodel_mirror_register(struct devmodel_dev *dev);
void devmodel_mirror_unregister(struct devmodel_mirror *mirror);
struct devmodel_mirror *devmodel_mirror_get(struct devmodel_dev *dev, u32 ctx);
struct devmodel_mirror *devmodel_mirror_next(struct devmodel_dev *dev, unsigned long *ctx);
void devmodel_mirror_put(struct devmodel_mirror *mirror);
void devmodel_mirror_cut(struct devmodel_mirror *mirror);
void devmodel_mirror_stop(struct devmodel_mirror *mirror);
void devmodel_mirrors_stop(struct devmodel_dev *dev);
int devmodel_mirror_attach(struct devmodel_mirror *mirror);
bool devmodel_is_attached(const struct devmodel_mirror *mirror);
int devmodel_mirror_grant(struct devmodel_mirror *mirror, struct devmodel_pt_stash *stash,
			  const struct hmm_range *range, bool write, bool exclusive);

/* exclusive.c */
int devmodel_mirror_exclusive(struct devmodel_mirror *mirror, unsigned long start,
			      unsigned long end);
void devmodel_exclusive_end(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end);
void devmodel_exclusive_end_all(struct devmodel_mirror *mirror);
int devmodel_mirror_atomic(struct devmodel_mirror *mirror, unsigned long address, u64 seq);

/* range.c */
int devmodel_range_fault(struct hmm_range *range);
int devmodel_mm_fault(struct devmodel_mirror *mirror, struct hmm_range *range);

/* fault.c */
int devmodel_fault_serve(struct devmodel_mirror *mirror,
			 const struct devmodel_fault_record *fault);
void devmodel_span_begin(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end);
unsigned long devmodel_span_end(struct devmodel_mirror *mirror);

/* fault_buffer.c */
int devmodel_fault_init(void);
void devmodel_fault_exit(void);
void devmodel_fault_queue_init(struct devmodel_fault_queue *queue);
int devmodel_fault_thread(void *data);

/* node.c */
int devmodel_node_add(struct devmodel_dev *dev);
int devmodel_node_remove(struct devmodel_dev *dev);
unsigned long devmodel_node_used(struct devmodel_dev *dev);
struct page *devmodel_node_alloc(struct devmodel_dev *dev);

static inline bool devmodel_is_node(const struct devmodel_dev *dev)
{
	return dev->model == DEVMODEL_MODEL_NUMA || dev->model == DEVMODEL_MODEL_CDM;
}

static inline bool devmodel_on_node(const struct devmodel_dev *dev, struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	return pfn >= dev->devmem.node.start_pfn && pfn < dev->devmem.node.end_pfn;
}

/* devmem.c */
int devmodel_devmem_init(struct devmodel_dev *dev);
void devmodel_devmem_hide(struct devmodel_dev *dev);
void devmodel_devmem_fini(struct devmodel_dev *dev);
unsigned long devmodel_devmem_used(struct devmodel_dev *dev);
struct page *devmodel_frame_alloc(struct devmodel_dev *dev, unsigned int order);
void devmodel_frame_unused(struct page *page);
u64 devmodel_bus_address(struct devmodel_dev *dev, struct page *page);
struct page *devmodel_bus_page(struct devmodel_dev *dev, u64 bus);
bool devmodel_is_hbm(struct devmodel_dev *dev, struct page *page);
struct devmodel_dev *devmodel_owner(struct page *page);
bool devmodel_reaches(struct devmodel_dev *dev, struct page *page);
bool devmodel_reaches_hbm(struct devmodel_dev *dev, struct devmodel_dev *peer);
int devmodel_peers_visit(struct devmodel_dev *dev,
			 int (*visit)(struct devmodel_dev *peer, void *data), void *data);

static inline unsigned long devmodel_first_pfn(struct devmodel_dev *dev)
{
	return devmodel_is_node(dev) ? dev->devmem.node.start_pfn :
				       dev->devmem.pagemap.range.start >> PAGE_SHIFT;
}

/* migrate.c */
int devmodel_migrate(struct devmodel_mirror *mirror, struct devmodel_migrate *request,
		     bool peers);
int devmodel_migrate_to_device(struct devmodel_mirror *mirror, unsigned long start,
			       unsigned long end);
int devmodel_migrate_to_system(struct devmodel_mirror *mirror, unsigned long address);

/* evict.c */
unsigned long devmodel_evict(struct devmodel_dev *dev, unsigned long wanted);
int devmodel_evict_all(struct devmodel_dev *dev);

/* touch.c */
vm_fault_t devmodel_migrate_to_ram(struct vm_fault *vmf);

/* oracle.c */
void devmodel_oracle_init(void);
void devmodel_oracle_write(struct devmodel_dev *dev, struct devmodel_trace_record record);
void devmodel_oracle_map(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long npages, u64 pte);
void devmodel_oracle_dirty(struct devmodel_mirror *mirror, unsigned long start,
			   unsigned long end);
void devmodel_oracle_update(struct devmodel_mirror *mirror, unsigned long start,
			    unsigned long end, u64 pte_mask);
void devmodel_oracle_model(struct devmodel_dev *dev);
void devmodel_oracle_mirror(struct devmodel_mirror *mirror, enum devmodel_trace kind);
void devmodel_oracle_frames(struct devmodel_dev *dev, enum devmodel_trace kind,
			    struct page *page);

static inline bool devmodel_oracle_listens(struct devmodel_dev *dev)
{
	return dev->trace_ring.entries;
}

/* policy.c */
void devmodel_policy_init(struct devmodel_mirror *mirror);
void devmodel_policy_fini(struct devmodel_mirror *mirror);
void devmodel_policy_end(struct devmodel_mirror *mirror, unsigned long start,
			 unsigned long end);
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
int devmodel_stats_read(struct devmodel_dev *dev, struct devmodel_mirror *mirror,
			struct devmodel_stats *stats);
void devmodel_debugfs_add(struct devmodel_dev *dev);
void devmodel_debugfs_init(void);
void devmodel_debugfs_exit(void);

#endif /* _DEVMODEL_DRIVER_H */
