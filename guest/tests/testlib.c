// SPDX-License-Identifier: MIT
/* What many tests need; declared in ktap.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ktap.h"

#define HUGE_SIZE	(2UL << 20)

/*
 * Where a mapping would lie within one huge page, or from the beginning of one
 * on: the driver takes what lies in two of them in two steps, and tests count.
 */
static void *place_for(size_t size)
{
	char *room = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *next = (char *)(((uintptr_t)room + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));

	if (room == MAP_FAILED)
		return NULL;
	munmap(room, 2 * size);
	return next < room + size ? next : room;
}

static void *map(size_t pages, int flags, int fd)
{
	size_t size = pages * page_size();
	void *address = mmap(place_for(size), size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (address == MAP_FAILED)
		ktap_fail(__FILE__, __LINE__, "mmap of %zu pages: %s", pages, strerror(errno));
	return address;
}

void *map_anonymous(size_t pages)
{
	return map(pages, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void *map_shared(size_t pages)
{
	return map(pages, MAP_SHARED | MAP_ANONYMOUS, -1);
}

int make_file(const char *folder, size_t pages)
{
	int fd = unnamed_file(folder, pages);

	if (fd < 0)
		ktap_fail(__FILE__, __LINE__, "a file in %s: %s", folder, strerror(errno));
	return fd;
}

int open_last(void)
{
	char path[32];
	int number = 0, dev;

	do
		snprintf(path, sizeof(path), "/dev/devmodel%d", ++number);
	while (!access(path, F_OK));
	snprintf(path, sizeof(path), "/dev/devmodel%d", number - 1);
	dev = devmodel_open(path);
	if (dev < 0)
		ktap_fail(__FILE__, __LINE__, "%s", devmodel_error());
	return dev;
}

void drain_node(int dev)
{
	struct devmodel_info info;
	int fd;

	if (devmodel_info(dev, &info) ||
	    (info.model != DEVMODEL_MODEL_NUMA && info.model != DEVMODEL_MODEL_CDM))
		return;
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		ktap_note("/proc/sys/vm/drop_caches: %s", strerror(errno));
	close(fd);
}

struct devmodel_stats stats_now(int dev)
{
	struct devmodel_stats stats;

	drain_node(dev);
	EXPECT_OK(devmodel_stats(dev, &stats));
	return stats;
}

enum devmodel_model model_now(int dev)
{
	struct devmodel_info info;

	EXPECT_OK(devmodel_info(dev, &info));
	return info.model;
}

void migrate_all(int dev, const void *address, size_t pages, enum devmodel_target target)
{
	uint32_t *outcomes = calloc(pages, sizeof(*outcomes));
	struct devmodel_migrate done;
	int tries = 3;
	size_t i;

	EXPECT(outcomes);
	/* The kernel itself may just have one in its hands: compaction, reclaim. */
	do
		EXPECT_OK(devmodel_migrate(dev, address, pages * page_size(), target, &done,
					   outcomes));
	while (done.failed && --tries);
	for (i = 0; i < pages; i++)
		if (outcomes[i] > DEVMODEL_OUTCOME_ALREADY_THERE)
			ktap_fail(__FILE__, __LINE__, "page %zu of %zu did not move: %s", i, pages,
				  devmodel_outcome_name(outcomes[i]));
	EXPECT_EQ(done.moved + done.already, pages);
	free(outcomes);
}

size_t pages_in_hbm(int dev, const void *address, size_t pages)
{
	uint32_t *cpu = calloc(pages, sizeof(*cpu));
	uint32_t *device = calloc(pages, sizeof(*device));
	size_t i, count = 0;

	EXPECT(cpu && device);
	EXPECT_OK(devmodel_snapshot(dev, address, pages * page_size(), cpu, device));
	for (i = 0; i < pages; i++)
		count += devmodel_place(cpu[i]) == DEVMODEL_PLACE_HBM;
	free(cpu);
	free(device);
	return count;
}

int wait_child(int pid)
{
	int status;

	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void expect_fault(const struct devmodel_wait *end, int result, const void *address,
		  size_t length, enum devmodel_access access)
{
	uint64_t begin = (uintptr_t)address;

	if (!result)
		ktap_fail(__FILE__, __LINE__, "the program ended well, a fault was expected");
	if (end->status != DEVMODEL_STATUS_FAULT)
		ktap_fail(__FILE__, __LINE__, "expected a fault: %s", devmodel_error());
	if (end->fault_address < begin || end->fault_address >= begin + length)
		ktap_fail(__FILE__, __LINE__, "fault at 0x%llx, expected 0x%llx and %zu bytes on",
			  (unsigned long long)end->fault_address, (unsigned long long)begin, length);
	EXPECT_EQ(end->fault_access, access);
}
