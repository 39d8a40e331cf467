/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver is written to the newest interfaces; this file brings older
 * series up to them, and is the only place that asks for a version.
 */
#ifndef _DEVMODEL_COMPAT_H
#define _DEVMODEL_COMPAT_H

#include <linux/memory-tiers.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/version.h>

/* Since 7.0; what they allocate is of the type that the pointer has. */
#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(obj), gfp)
#define kmalloc_obj(obj, gfp)	kmalloc(sizeof(obj), gfp)
#define kvmalloc_obj(obj, gfp)	kvmalloc(sizeof(obj), gfp)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
/* 82ba975e4c43 ("mm: allow compound zone device pages") */
static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
/* The pagemap and the order became arguments with device-private THP. */
#define devmodel_page_init(page, pgmap, order)	zone_device_page_init(page)
/* ops->page_free() became ops->folio_free(). */
#define DEVMODEL_PAGE_FREE		page_free
#define DEVMODEL_FREED			struct page
#define devmodel_freed_page(freed)	(freed)
/* Private memory was made of single pages: nothing is ever selected or marked as a huge one. */
#define MIGRATE_VMA_SELECT_COMPOUND	0
#define MIGRATE_PFN_COMPOUND		0UL
#else
#define devmodel_page_init(page, pgmap, order)	zone_device_page_init(page, pgmap, order)
#define DEVMODEL_PAGE_FREE		folio_free
#define DEVMODEL_FREED			struct folio
#define devmodel_freed_page(freed)	folio_page(freed, 0)
#endif

/*
 * Make single pages of a huge one that is free. The kernel leaves that to the
 * next zone_device_page_init(), which is enough where frames of one size never
 * become frames of another: it mends the pages that it is given, and no others
 * that the same huge page was made of.
 */
static inline void devmodel_undo_compound(struct page *page, unsigned int order)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	struct dev_pagemap *pgmap = page_pgmap(page);
	unsigned long i;

	if (!order)
		return;
	folio_reset_order(page_folio(page));
	page[1].flags.f &= ~PAGE_FLAGS_SECOND;
	ClearPageHead(page);
	for (i = 1; i < BIT(order); i++) {
		struct folio *folio = (struct folio *)(page + i);

		folio->mapping = NULL;
		/* In the place of what made it a tail. */
		folio->pgmap = pgmap;
	}
#endif
}

/* Has a CPU touched a huge page? Its address is then anywhere in it. */
static inline bool devmodel_touched_huge(const struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
	return false;
#else
	return !vmf->pte;
#endif
}

/*
 * Isolate frames of private or coherent memory, given by number: each becomes
 * what migrate_device_pages() wants to have of it, 0 if it is free or busy.
 */
static inline void devmodel_lock_frames(unsigned long *pfns, unsigned long count)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	unsigned long i, run;

	for (i = 0; i < count; i += run) {
		for (run = 1; i + run < count && pfns[i + run] == pfns[i] + run;)
			run++;
		migrate_device_range(pfns + i, pfns[i], run);
	}
#else
	migrate_device_pfns(pfns, count);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
/* 128ea9f6ccfb ("workqueue: Add system_percpu_wq and system_dfl_wq") */
#define system_dfl_wq		system_unbound_wq
#endif

/* destroy_memory_type() became put_memory_type() in 6.6. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define put_memory_type(type)	destroy_memory_type(type)
#endif

/* mmap_write_trylock() lost its last user in the kernel, and went. */
static inline bool devmodel_mmap_write_trylock(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	return mmap_write_trylock(mm);
#else
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	mm_lock_seqcount_begin(mm);
	return true;
#endif
}

/* Only a kernel with the coherent device memory patch has it. */
#ifdef MHP_COHERENT_DEVICE
#define DEVMODEL_HAS_CDM	true
#else
#define DEVMODEL_HAS_CDM	false
#define MHP_COHERENT_DEVICE	MHP_NONE
#endif

/* What the memory that a notifier event is about may be used for; 0 if nobody says. */
static inline vm_flags_t devmodel_vm_flags(const struct mmu_notifier_range *range)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	return range->vma ? range->vma->vm_flags : 0;
#else
	struct vm_area_struct *vma;
	vm_flags_t flags;

	/*
	 * 7d4a8be0c4b2 took the VMA out of the range. Who changes it holds
	 * mmap_lock, but for write-back, which holds the file's i_mmap_rwsem.
	 */
	rcu_read_lock();
	vma = vma_lookup(range->mm, range->start);
	flags = vma ? vma->vm_flags : 0;
	rcu_read_unlock();
	return flags;
#endif
}

/* Before 6.15 a folio is made exclusive as a whole or not at all, by its first page. */
static inline bool devmodel_excludes_small_only(void)
{
	return LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0);
}

/*
 * Give one page to a device alone. Returns the page, locked and with a
 * reference, or an ERR_PTR. mmap_lock is held for reading.
 */
static inline struct page *devmodel_exclude_cpu(struct mm_struct *mm, unsigned long address,
						void *owner)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	struct page *page = NULL;
	int ret = make_device_exclusive_range(mm, address, address + PAGE_SIZE, &page, owner);

	if (ret < 0)
		return ERR_PTR(ret);
	return page ? page : ERR_PTR(-EBUSY);
#else
	struct folio *folio;

	return make_device_exclusive(mm, address, owner, &folio);
#endif
}

#endif /* _DEVMODEL_COMPAT_H */
