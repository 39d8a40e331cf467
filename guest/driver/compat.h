/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver is written to the newest interfaces; this file brings older
 * series up to them, and is the only place that asks for a version.
 */
#ifndef _DEVMODEL_COMPAT_H
#define _DEVMODEL_COMPAT_H

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
/* 82ba975e4c43 ("mm: allow compound zone device pages") */
static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
/* The pagemap and the order became arguments with device-private THP. */
#define devmodel_page_init(page, pgmap)	zone_device_page_init(page)
/* ops->page_free() became ops->folio_free(). */
#define DEVMODEL_PAGE_FREE		page_free
#define DEVMODEL_FREED			struct page
#define devmodel_freed_page(freed)	(freed)
#else
#define devmodel_page_init(page, pgmap)	zone_device_page_init(page, pgmap, 0)
#define DEVMODEL_PAGE_FREE		folio_free
#define DEVMODEL_FREED			struct folio
#define devmodel_freed_page(freed)	folio_page(freed, 0)
#endif

/* Is what mprotect() and its like change in this range still readable afterwards? */
static inline bool devmodel_stays_readable(const struct mmu_notifier_range *range)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	struct vm_area_struct *vma = range->vma;
#else
	/* 7d4a8be0c4b2 took the VMA out of the range; who changes it holds mmap_lock. */
	struct vm_area_struct *vma = vma_lookup(range->mm, range->start);
#endif
	return vma && (vma->vm_flags & VM_READ);
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
