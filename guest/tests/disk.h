/* SPDX-License-Identifier: MIT */
/* Something to swap to, and a file system that writes back; each ends the test if it cannot be had. */
#ifndef _DISK_H
#define _DISK_H

#include <stddef.h>

/* Swap from here on. The test has to end it: it is everybody's. */
void swap_on(void);
void swap_off(void);
/* Have all of a range swapped out. */
void swap_out(void *address, size_t pages);

/*
 * A new ext4 that this process alone sees mounted and that goes with it.
 * Returns its path.
 */
const char *disk_mount(void);
/* Write a file to the disk, and have the kernel forget its pages. */
void disk_drop_caches(int file);

#endif /* _DISK_H */
