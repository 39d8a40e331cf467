/* SPDX-License-Identifier: MIT */
/*
 * The plain model that dm-model compares a process's memory with: an arena of
 * pages, a copy of what its bytes must be, and what may be done to each page.
 * Nothing here knows of the device.
 */
#ifndef _MODEL_H
#define _MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_MAX_PAGES	4096
#define MODEL_HUGE	(2UL << 20)

/* What is mapped at a page of the arena. */
enum kind {
	KIND_HOLE,
	KIND_PRIVATE,		/* anonymous */
	KIND_SHARED,		/* anonymous, shared with children */
	KIND_FILE_SHARED,	/* of a file that remembers */
	KIND_FILE_PRIVATE,	/* of a file that nobody writes to */
	KINDS,
};

extern const char *const kind_names[KINDS];

struct model {
	uint8_t *arena;
	uint8_t *shadow;	/* what the arena's bytes must be */
	uint8_t *file_shadow;	/* what is in the shared file */
	size_t pages;
	size_t page_size;
	int shared_file;
	int private_file;
	uint8_t kind[MODEL_MAX_PAGES];
	uint8_t prot[MODEL_MAX_PAGES];
	bool huge[MODEL_MAX_PAGES];	/* may be a part of a huge page */
};

/* Reserve an arena with everything a hole. Ends the program if there is no memory. */
void model_init(struct model *model, size_t pages);
/* Change pages of the arena and of the model alike. */
void model_map(struct model *model, size_t page, size_t count, enum kind kind);
void model_unmap(struct model *model, size_t page, size_t count);
void model_protect(struct model *model, size_t page, size_t count, int prot);
void model_discard(struct model *model, size_t page, size_t count);
/* mremap() private pages to where others were. */
void model_move(struct model *model, size_t to, size_t from, size_t count);

/* Private memory that asks for huge pages; @page and the arena are aligned to one. */
void model_map_huge(struct model *model, size_t page);

/* Are all pages of this stretch mapped, and may their bytes be read / be written? */
bool model_mapped(const struct model *model, size_t page, size_t count);
bool model_allows(const struct model *model, size_t offset, size_t length, bool write);

static inline bool page_allows(const struct model *model, size_t page, bool write)
{
	return model->kind[page] != KIND_HOLE && (model->prot[page] & (write ? 2 : 1));
}

/* Can a device have this page alone, for an atomic? The kernel knows how to for anonymous memory. */
static inline bool page_excludes(const struct model *model, size_t page)
{
	return page_allows(model, page, true) &&
	       (model->kind[page] == KIND_PRIVATE || model->kind[page] == KIND_FILE_PRIVATE);
}

/* The first byte in [offset, offset + length) where the arena is not as it must be, or -1. */
long model_wrong(const struct model *model, size_t offset, size_t length);

#endif /* _MODEL_H */
