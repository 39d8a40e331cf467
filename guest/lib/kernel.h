/* SPDX-License-Identifier: MIT */
/* What a kernel may have built in, as a module, or not at all. */
#ifndef _KERNEL_H
#define _KERNEL_H

/* What there is to swap to, and the module that makes it where it is not built in. */
#define SWAP_DEVICE	"/dev/ram0"
#define SWAP_MODULE	"brd rd_nr=1 rd_size=262144"

/*
 * Load a module, with its parameters, if there is one of that name: whoever
 * needs it sees for himself.
 */
void load_module(const char *words);

#endif /* _KERNEL_H */
