// SPDX-License-Identifier: MIT
/* See ranges.h. */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ranges.h"

static bool holds_one(uintptr_t start, uintptr_t end, void *const *blocks, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if ((uintptr_t)blocks[i] >= start && (uintptr_t)blocks[i] < end)
			return true;
	return false;
}

void ranges_find(struct ranges *ranges, void *const *blocks, size_t count)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, inode;
	char line[512], prot[8];

	if (!maps)
		err(1, "/proc/self/maps");
	*ranges = (struct ranges) { .count = 0 };
	while (fgets(line, sizeof(line), maps) && ranges->count < MAX_RANGES) {
		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, prot, &inode) != 4)
			continue;
		if (strcmp(prot, "rw-p") || inode)
			continue;
		if (!strstr(line, "[heap]") &&
		    (strchr(line, '[') || !holds_one(start, end, blocks, count)))
			continue;
		ranges->range[ranges->count++] = (struct range) { start, end };
		ranges->bytes += end - start;
	}
	fclose(maps);
}
