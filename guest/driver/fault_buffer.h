/* SPDX-License-Identifier: GPL-2.0 */
/* The fault buffer: one thread a device sorts it. */
#ifndef _DEVMODEL_FAULT_BUFFER_H
#define _DEVMODEL_FAULT_BUFFER_H

int devmodel_fault_thread(void *data);

#endif /* _DEVMODEL_FAULT_BUFFER_H */
