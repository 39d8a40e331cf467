// SPDX-License-Identifier: MIT
/* See memory.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "memory.h"

size_t page_size(void)
{
	static size_t size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

int unnamed_file(const char *folder, size_t pages)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), error;

	if (fd < 0 || !ftruncate(fd, pages * page_size()))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static uint64_t pattern(size_t index, uint64_t seed)
{
	return (index + 1) * 0x9e3779b97f4a7c15ULL ^ seed * 0xbf58476d1ce4e5b9ULL;
}

void pattern_write(void *address, size_t pages, uint64_t seed)
{
	size_t i, words = pages * page_size() / sizeof(uint64_t);
	uint64_t *word = address;

	for (i = 0; i < words; i++)
		word[i] = pattern(i, seed);
}

long pattern_wrong(const void *address, size_t pages, uint64_t seed)
{
	size_t i, words = pages * page_size() / sizeof(uint64_t);
	const uint64_t *word = address;

	for (i = 0; i < words; i++)
		if (word[i] != pattern(i, seed))
			return i;
	return -1;
}
