// SPDX-License-Identifier: MIT
/*
 * What asks for nothing while the system's node is full.
 *
 * It is filled with page cache of a file of holes: clean, so that a kernel
 * that may not use the device's node drops some of it and goes on.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/child.h"
#include "../lib/kernel.h"
#include "../lib/memory.h"
#include "probe.h"

#define IMAGE		PROBE_FOLDER "/disk.img"
#define HOLES		PROBE_DISK "/holes"
/* Of what is read only the page cache is ever there. */
#define HOLES_BYTES	(64L << 30)
#define CHUNK		256	/* pages */
/* With min_free_kbytes at 4096 the kernel begins to reclaim here; a little more. */
#define FREE_ENOUGH	2560	/* pages */

/* What the rest of the system has: enough for the largest probe, little enough to fill soon. */
#define ROOM		(192L << 20)
/* Holds the rest of the system's node. */
static pid_t ballast;
#define BALLAST_SECONDS	60

static void hold(void)
{
	long spare = node_pages(SYSTEM_NODE, "MemFree") - ROOM / (long)page_size();
	long pages = spare & -HUGE_PAGES;
	char *address = probe_map_huge(pages / HUGE_PAGES);

	policy_task(MPOL_BIND, SYSTEM_NODE);
	madvise(address, pages * page_size(), MADV_HUGEPAGE);
	PROBE_MUST(write_text("/proc/self/oom_score_adj", "-1000"));
	PROBE_MUST(!mlock(address, pages * page_size()));
	kill(getpid(), SIGSTOP);
	pause();
}

bool ballast_take(void)
{
	long left = BALLAST_SECONDS * 100;
	int status = 0;

	if (ballast > 0 && waitpid(ballast, &status, WNOHANG) == 0)
		return true;
	ballast = child_fork();
	if (!ballast)
		hold();
	/* It is there when its process has stopped itself. */
	while (ballast > 0 && waitpid(ballast, &status, WUNTRACED | WNOHANG) == 0 && left--)
		sleep_ms(10);
	if (WIFSTOPPED(status))
		return true;
	ballast_end();
	return false;
}

void ballast_drop(void)
{
	if (ballast > 0)
		kill(ballast, SIGKILL);
}

void ballast_end(void)
{
	if (ballast > 0)
		child_end(ballast, 0, stderr);
	ballast = 0;
}

/* If there is one that is frozen. */
static void thaw(void)
{
	int fd = open(PROBE_DISK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		ioctl(fd, FITHAW, 0);
		close(fd);
	}
}

bool probe_fixture(void)
{
	static const char commands[] =
		"set -e; mkdir -p " PROBE_DISK " " PROBE_CGROUPS "; "
		"truncate -s 32M " IMAGE "; loop=$(losetup -f); losetup $loop " IMAGE "; "
		"mke2fs -b 4096 $loop >/dev/null; mount -t ext4 $loop " PROBE_DISK "; "
		/* It goes when it is unmounted. */
		"losetup -d $loop; "
		"truncate -s 64G " HOLES "; "
		"mount -t cgroup2 none " PROBE_CGROUPS "; mkdir -p " PROBE_CGROUPS "/probe";

	load_module("loop");
	load_module("ext4");
	return system(commands) == 0;
}

void probe_fixture_end(void)
{
	rmdir(PROBE_CGROUPS "/probe");
	/* A process that is stuck may still have them open. */
	umount2(PROBE_CGROUPS, MNT_DETACH);
	thaw();
	umount2(PROBE_DISK, MNT_DETACH);
	unlink(IMAGE);
	rmdir(PROBE_CGROUPS);
	rmdir(PROBE_DISK);
	rmdir(PROBE_FOLDER);
}

void pressure(void)
{
	/* Whatever is there, it is gone through no more than so many times. */
	long bound = 3 * node_pages(SYSTEM_NODE, "MemTotal");
	long *cursor = &probe_shared->cursor;
	int fd = open(HOLES, O_RDONLY | O_CLOEXEC);

	PROBE_MUST(fd >= 0);
	setting("/proc/sys/vm/min_free_kbytes", "4096");
	setting("/proc/sys/vm/watermark_boost_factor", "0");
	policy_task(MPOL_BIND, SYSTEM_NODE);
	while (node_pages(SYSTEM_NODE, "MemFree") > FREE_ENOUGH) {
		if ((bound -= CHUNK) < 0)
			probe_fail("node %d could not be filled: %ld pages are free", SYSTEM_NODE,
				   node_pages(SYSTEM_NODE, "MemFree"));
		PROBE_MUST(!readahead(fd, *cursor * page_size(), CHUNK * page_size()));
		*cursor = (*cursor + CHUNK) % (HOLES_BYTES / (long)page_size());
	}
	policy_task(MPOL_DEFAULT, -1);
	close(fd);
}

static struct probe_count anonymous(void)
{
	pressure();
	return probe_arrived(probe_map(PROBE_MANY), PROBE_MANY);
}

static struct probe_count locked(void)
{
	char *address = probe_map_untouched(PROBE_MANY);

	pressure();
	PROBE_MUST(!mlock(address, PROBE_MANY * page_size()));
	return probe_arrived(address, PROBE_MANY);
}

/* Faults memory until it is killed for it; tells how many pages it had on the node. */
__attribute__((noreturn))
static void hog(struct probe_count *told)
{
	const long step = 4096;

	for (;;) {
		char *address = probe_map(step);

		told->arrived += probe_on(address, step, probe_node);
		told->of += step;
	}
}

static struct probe_count out_of_memory(void)
{
	struct probe_count *told = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;
	int status;

	PROBE_MUST(told != MAP_FAILED);
	/* The hog and nobody else is to be killed. */
	PROBE_MUST(write_text("/proc/self/oom_score_adj", "1000"));
	child = fork();
	if (!child)
		hog(told);
	PROBE_MUST(write_text("/proc/self/oom_score_adj", "0"));
	PROBE_MUST(child > 0 && waitpid(child, &status, 0) == child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		probe_fail("the hog was to be killed for want of memory");
	return *told;
}

/* A file's pages, once they are there. */
static struct probe_count file_arrived(int fd, long pages)
{
	char *address = mmap(NULL, pages * page_size(), PROT_READ, MAP_SHARED, fd, 0);

	PROBE_MUST(address != MAP_FAILED);
	PROBE_MUST(!madvise(address, pages * page_size(), MADV_POPULATE_READ));
	return probe_arrived(address, pages);
}

static struct probe_count page_cache(void)
{
	int fd = probe_file(PROBE_DISK, PROBE_MANY);
	char *buffer = malloc(CHUNK * page_size());

	PROBE_MUST(buffer);
	pressure();
	while (read(fd, buffer, CHUNK * page_size()) > 0)
		;
	return file_arrived(fd, PROBE_MANY);
}

static struct probe_count tmpfs(void)
{
	int fd = probe_file("/dev/shm", PROBE_MANY);
	char *buffer = calloc(CHUNK, page_size());
	long i;

	PROBE_MUST(buffer);
	pressure();
	for (i = 0; i < PROBE_MANY; i += CHUNK)
		PROBE_MUST(write(fd, buffer, CHUNK * page_size()) > 0);
	return file_arrived(fd, PROBE_MANY);
}

/* Mounted so that its pages go to all nodes, none of them named. */
static struct probe_count tmpfs_interleave(void)
{
	char path[] = PROBE_FOLDER "/interleave";
	int fd;

	PROBE_MUST(!mkdir(path, 0700));
	PROBE_MUST(!mount("tmpfs", path, "tmpfs", 0, "mpol=interleave"));
	fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* It lives on until the file is closed. */
	PROBE_MUST(!umount2(path, MNT_DETACH) && !rmdir(path));
	PROBE_MUST(fd >= 0 && !ftruncate(fd, PROBE_SOME * page_size()));
	return file_arrived(fd, PROBE_SOME);
}

static struct probe_count huge_pages(void)
{
	const long huge = PROBE_MANY / HUGE_PAGES;
	char *address = probe_map_huge(huge);

	PROBE_MUST(!madvise(address, PROBE_MANY * page_size(), MADV_HUGEPAGE));
	pressure();
	probe_touch(address, PROBE_MANY);
	return probe_arrived(address, PROBE_MANY);
}

static struct probe_count swap_in(void)
{
	const long pages = PROBE_MANY / 2;
	char *address = probe_map(pages);

	swap_on();
	PROBE_MUST(!madvise(address, pages * page_size(), MADV_PAGEOUT));
	if (probe_on(address, pages, SYSTEM_NODE) > pages / 10)
		probe_fail("pages are not in the swap");
	pressure();
	probe_touch(address, pages);
	return probe_arrived(address, pages);
}

/* In a child that has a result, as its parent's. */
static struct probe_count in_child(struct probe_count (*work)(void *), void *argument)
{
	pid_t child = fork();
	int status;

	if (!child) {
		probe_shared->count = work(argument);
		_exit(EXIT_SUCCESS);
	}
	PROBE_MUST(child > 0 && waitpid(child, &status, 0) == child);
	if (status)
		_exit(EXIT_FAILURE);
	return probe_shared->count;
}

static struct probe_count of_child(void *unused)
{
	(void)unused;
	policy_task(MPOL_DEFAULT, -1);
	return anonymous();
}

/* Its parent asked, for itself. */
static struct probe_count after_fork(void)
{
	policy_task(MPOL_BIND, probe_node);
	probe_map(PROBE_SOME);
	return in_child(of_child, NULL);
}

static struct probe_count copies(void *address)
{
	pressure();
	probe_touch(address, PROBE_MANY);
	return probe_arrived(address, PROBE_MANY);
}

/* The parent's pages are on the node; what the child's writes make of them is not asked for. */
static struct probe_count fork_cow(void)
{
	char *address = probe_map(PROBE_MANY);

	move_to(address, PROBE_MANY, probe_node);
	return in_child(copies, address);
}

static struct probe_count cpuset(void)
{
	group_enter("cpuset");
	return anonymous();
}

static struct probe_count interleave_allowed(void)
{
	char *address = probe_map_untouched(PROBE_SOME);

	policy_task_mask(MPOL_INTERLEAVE, nodes_allowed());
	probe_touch(address, PROBE_SOME);
	return probe_arrived(address, PROBE_SOME);
}

const struct probe probes_pressure[] = {
	{ "anonymous", PROBE_SPILLS, anonymous, "anonymous memory, node 0 full" },
	{ "mlock", PROBE_SPILLS, locked, "memory locked by mlock, node 0 full" },
	{ "page-cache", PROBE_SPILLS, page_cache, "an ext4 file read, node 0 full" },
	{ "tmpfs", PROBE_SPILLS, tmpfs, "a tmpfs file written, node 0 full" },
	{ "tmpfs-interleave", PROBE_SPILLS, tmpfs_interleave,
	  "a tmpfs mounted with mpol=interleave" },
	{ "thp", PROBE_SPILLS, huge_pages, "transparent huge pages, node 0 full" },
	{ "swap-in", PROBE_SPILLS, swap_in, "pages come back from swap, node 0 full" },
	{ "fork-policy", PROBE_SPILLS, after_fork,
	  "a child's own memory, its parent bound to the node" },
	{ "fork-cow", PROBE_SPILLS, fork_cow, "a child's copies of pages that are on the node" },
	{ "cpuset", PROBE_SPILLS, cpuset, "a fresh cpuset's memory, node 0 full" },
	{ "interleave-allowed", PROBE_SPILLS, interleave_allowed,
	  "interleave over all nodes that are allowed" },
	{ "oom", PROBE_SPILLS, out_of_memory, "a hog goes on until it is killed" },
	{}
};
