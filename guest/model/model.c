// SPDX-License-Identifier: MIT
/* See model.h. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"

const char *const kind_names[KINDS] = {
	"hole", "private", "shared", "file-shared", "file-private",
};

static void *anonymous(size_t size, int prot)
{
	void *memory = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(2, "%zu bytes", size);
	return memory;
}

static int file(size_t size)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, size))
		err(2, "a file in /tmp");
	return fd;
}

static uint8_t private_byte(size_t offset)
{
	return offset * 31 + (offset >> 12) * 7 + 1;
}

void model_init(struct model *model, size_t pages)
{
	size_t i, size;

	*model = (struct model) { .pages = pages, .page_size = sysconf(_SC_PAGESIZE) };
	size = pages * model->page_size;
	model->arena = anonymous(size + MODEL_HUGE, PROT_NONE);
	model->arena += -(uintptr_t)model->arena % MODEL_HUGE;
	model->shadow = anonymous(size, PROT_READ | PROT_WRITE);
	model->file_shadow = anonymous(size, PROT_READ | PROT_WRITE);
	model->shared_file = file(size);
	model->private_file = file(size);
	for (i = 0; i < size; i++)
		model->shadow[i] = private_byte(i);
	if (pwrite(model->private_file, model->shadow, size, 0) != (ssize_t)size)
		err(2, "the private file");
	model_unmap(model, 0, pages);
}

/* What stays in the shared file when its mapping goes. */
static void keep_file(struct model *model, size_t page, size_t count)
{
	size_t size = model->page_size;

	for (; count--; page++)
		if (model->kind[page] == KIND_FILE_SHARED)
			memcpy(model->file_shadow + page * size, model->shadow + page * size, size);
}

/* What a page holds when nothing was written to it since it was mapped. */
static void fresh(struct model *model, size_t page)
{
	uint8_t *shadow = model->shadow + page * model->page_size;
	size_t i;

	switch (model->kind[page]) {
	case KIND_FILE_SHARED:
		memcpy(shadow, model->file_shadow + page * model->page_size, model->page_size);
		break;
	case KIND_FILE_PRIVATE:
		for (i = 0; i < model->page_size; i++)
			shadow[i] = private_byte(page * model->page_size + i);
		break;
	default:
		memset(shadow, 0, model->page_size);
	}
}

void model_map(struct model *model, size_t page, size_t count, enum kind kind)
{
	size_t offset = page * model->page_size, length = count * model->page_size;
	int flags = MAP_FIXED, fd = -1;

	switch (kind) {
	case KIND_PRIVATE:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case KIND_SHARED:
		flags |= MAP_SHARED | MAP_ANONYMOUS;
		break;
	case KIND_FILE_SHARED:
		flags |= MAP_SHARED;
		fd = model->shared_file;
		break;
	case KIND_FILE_PRIVATE:
		flags |= MAP_PRIVATE;
		fd = model->private_file;
		break;
	default:
		abort();
	}
	keep_file(model, page, count);
	if (mmap(model->arena + offset, length, PROT_READ | PROT_WRITE, flags, fd,
		 fd < 0 ? 0 : offset) == MAP_FAILED)
		err(2, "mmap of %s pages", kind_names[kind]);
	for (; count--; page++) {
		model->kind[page] = kind;
		model->huge[page] = false;
		model->prot[page] = PROT_READ | PROT_WRITE;
		fresh(model, page);
	}
}

void model_map_huge(struct model *model, size_t page)
{
	size_t count = MODEL_HUGE / model->page_size;

	model_map(model, page, count, KIND_PRIVATE);
	memset(model->huge + page, true, count);
	/* A kernel without them has a point, too. */
	madvise(model->arena + page * model->page_size, MODEL_HUGE, MADV_HUGEPAGE);
}

void model_unmap(struct model *model, size_t page, size_t count)
{
	keep_file(model, page, count);
	if (munmap(model->arena + page * model->page_size, count * model->page_size))
		err(2, "munmap");
	memset(model->kind + page, KIND_HOLE, count);
	memset(model->prot + page, 0, count);
}

void model_protect(struct model *model, size_t page, size_t count, int prot)
{
	if (mprotect(model->arena + page * model->page_size, count * model->page_size, prot))
		err(2, "mprotect");
	memset(model->prot + page, prot, count);
}

void model_discard(struct model *model, size_t page, size_t count)
{
	if (madvise(model->arena + page * model->page_size, count * model->page_size, MADV_DONTNEED))
		err(2, "madvise");
	for (; count--; page++)
		/* Shared memory and files keep what they have. */
		if (model->kind[page] == KIND_PRIVATE || model->kind[page] == KIND_FILE_PRIVATE)
			fresh(model, page);
}

void model_move(struct model *model, size_t to, size_t from, size_t count)
{
	size_t size = model->page_size, length = count * size;

	model_unmap(model, to, count);
	/* It moves a single mapping or nothing; what counts as single, the kernel knows. */
	if (mremap(model->arena + from * size, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		   model->arena + to * size) == MAP_FAILED) {
		if (errno != EFAULT)
			err(2, "mremap");
		return;
	}
	memcpy(model->shadow + to * size, model->shadow + from * size, length);
	memcpy(model->kind + to, model->kind + from, count);
	memcpy(model->prot + to, model->prot + from, count);
	memcpy(model->huge + to, model->huge + from, count * sizeof(*model->huge));
	memset(model->kind + from, KIND_HOLE, count);
	memset(model->prot + from, 0, count);
}

bool model_mapped(const struct model *model, size_t page, size_t count)
{
	for (; count--; page++)
		if (model->kind[page] == KIND_HOLE)
			return false;
	return true;
}

bool model_allows(const struct model *model, size_t offset, size_t length, bool write)
{
	size_t page = offset / model->page_size, last = (offset + length - 1) / model->page_size;

	for (; page <= last; page++)
		if (!page_allows(model, page, write))
			return false;
	return true;
}

long model_wrong(const struct model *model, size_t offset, size_t length)
{
	size_t i;

	if (!memcmp(model->arena + offset, model->shadow + offset, length))
		return -1;
	for (i = 0; i < length; i++)
		if (model->arena[offset + i] != model->shadow[offset + i])
			return offset + i;
	/* It changed while we looked: as wrong as can be. */
	return offset;
}
