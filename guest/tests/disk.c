// SPDX-License-Identifier: MIT
/* See disk.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/kernel.h"
#include "ktap.h"
#include "disk.h"
#include "row.h"

#define SWAP_KIB	"16384"
#define DISK_BYTES	(8 << 20)
#define MOUNT_POINT	"/tmp/dm-test-disk"
#define TRIES		1000
#define SWAPPED		(1ULL << 62)

void swap_on(void)
{
	load_module(SWAP_MODULE);
	if (access(SWAP_DEVICE, W_OK))
		ktap_skip("this kernel has no " SWAP_DEVICE);
	/* A test that failed may have left it on. */
	swapoff(SWAP_DEVICE);
	EXPECT_EQ(system("mkswap " SWAP_DEVICE " " SWAP_KIB " >/dev/null"), 0);
	EXPECT(!swapon(SWAP_DEVICE, 0));
}

void swap_off(void)
{
	EXPECT(!swapoff(SWAP_DEVICE));
}

static bool swapped(const void *address, size_t pages)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = SWAPPED;
	size_t i;

	EXPECT(pagemap >= 0);
	for (i = 0; i < pages && (entry & SWAPPED); i++)
		EXPECT_EQ(pread(pagemap, &entry, sizeof(entry),
				((uintptr_t)address / page_size() + i) * sizeof(entry)),
			  sizeof(entry));
	close(pagemap);
	return entry & SWAPPED;
}

/*
 * Pages that another processor has touched are on their way to an LRU list for
 * long. Asking for a page to be where it is, as a by-product, brings them there.
 */
static void settle(void *address)
{
	int node, status;

	EXPECT(!syscall(SYS_move_pages, 0, 1, &address, NULL, &node, 0));
	if (node >= 0)
		EXPECT(!syscall(SYS_move_pages, 0, 1, &address, &node, &status, MPOL_MF_MOVE));
}

void swap_out(void *address, size_t pages)
{
	int i;

	for (i = 0; i < TRIES && !swapped(address, pages); i++) {
		settle(address);
		EXPECT(!madvise(address, pages * page_size(), MADV_PAGEOUT));
	}
	if (i == TRIES)
		ktap_fail(__FILE__, __LINE__, "pages will not go to swap");
}

/* A loop device that is gone when nobody uses it any more. */
static void loop_path(char *path, size_t size)
{
	struct loop_config config = { .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
	int control, loop, number, held;

	load_module("loop");
	control = open("/dev/loop-control", O_RDWR);
	if (control < 0)
		ktap_skip("this kernel has no loop devices");
	config.fd = memfd_create("disk", 0);
	EXPECT(!ftruncate(config.fd, DISK_BYTES));
	number = ioctl(control, LOOP_CTL_GET_FREE);
	EXPECT(number >= 0);
	snprintf(path, size, "/dev/loop%d", number);
	loop = open(path, O_RDWR);
	EXPECT(loop >= 0);
	EXPECT(!ioctl(loop, LOOP_CONFIGURE, &config));
	/* Held until the process ends; nobody may have open for writing what is mounted. */
	held = open(path, O_RDONLY);
	EXPECT(held >= 0);
	close(loop);
	close(control);
	close(config.fd);
}

const char *disk_mount(void)
{
	char path[32], command[64];

	loop_path(path, sizeof(path));
	snprintf(command, sizeof(command), "mke2fs %s >/dev/null", path);
	EXPECT_EQ(system(command), 0);
	EXPECT(!unshare(CLONE_NEWNS));
	EXPECT(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	EXPECT(!mkdir(MOUNT_POINT, 0700) || errno == EEXIST);
	load_module("ext4");
	if (mount(path, MOUNT_POINT, "ext4", 0, NULL)) {
		if (errno == ENODEV)
			ktap_skip("this kernel has no ext4");
		ktap_fail(__FILE__, __LINE__, "mount of %s: %s", path, strerror(errno));
	}
	return MOUNT_POINT;
}

void disk_drop_caches(int file)
{
	EXPECT(!fsync(file));
	kernel_set("/proc/sys/vm/drop_caches", "3");
	/* Pages that another processor has on their way to an LRU list stayed. */
	EXPECT(!posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
}
