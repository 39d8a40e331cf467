/* SPDX-License-Identifier: MIT */
/* Pages: how large they are, files made of them, and patterns to find a misplaced one by. */
#ifndef _MEMORY_H
#define _MEMORY_H

#include <stddef.h>
#include <stdint.h>

size_t page_size(void);
/* A file of @pages zeroed pages without a name; -1 if @folder can have none, and errno. */
int unnamed_file(const char *folder, size_t pages);

/* Different words for every address and seed. */
void pattern_write(void *address, size_t pages, uint64_t seed);
/* The first word that is not as written, as an index, or -1. */
long pattern_wrong(const void *address, size_t pages, uint64_t seed);

#endif /* _MEMORY_H */
