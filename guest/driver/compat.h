/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver is written to the newest interfaces; this file brings older
 * series up to them, and is the only place that asks for a version.
 */
#ifndef _DEVMODEL_COMPAT_H
#define _DEVMODEL_COMPAT_H

#include <linux/memremap.h>
#include <linux/mm.h>
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

#endif /* _DEVMODEL_COMPAT_H */
