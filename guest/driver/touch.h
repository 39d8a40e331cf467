/* SPDX-License-Identifier: GPL-2.0 */
/* A CPU's touch of a private page. */
#ifndef _DEVMODEL_TOUCH_H
#define _DEVMODEL_TOUCH_H

#include <linux/mm_types.h>

struct vm_fault;

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

vm_fault_t devmodel_migrate_to_ram(struct vm_fault *vmf);

#endif /* _DEVMODEL_TOUCH_H */
