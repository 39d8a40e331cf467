/* SPDX-License-Identifier: GPL-2.0 */
/* Pages that have no bytes. */
#ifndef _DEVMODEL_POISON_H
#define _DEVMODEL_POISON_H

struct page;

int devmodel_poison_reserve(unsigned long pages, unsigned long huge);
struct page *devmodel_poison_page(unsigned int order);
void devmodel_poison_exit(void);

#endif /* _DEVMODEL_POISON_H */
