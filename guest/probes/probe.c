// SPDX-License-Identifier: MIT
/* Memory, policies and settings, for the probes; declared in probe.h. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../lib/kernel.h"
#include "../lib/libdevmodel.h"
#include "../lib/memory.h"
#include "probe.h"

#define SWAP_FILE	PROBE_FOLDER "/swap.img"
#define MAX_NODES	(8 * sizeof(unsigned long))

int probe_node;
struct probe_shared *probe_shared;

void probe_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(probe_shared->why, sizeof(probe_shared->why), format, args);
	va_end(args);
	_exit(EXIT_FAILURE);
}

void sleep_ms(long ms)
{
	nanosleep(&(struct timespec) { ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* --- memory */

char *probe_map_untouched(long pages)
{
	char *address = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	PROBE_MUST(address != MAP_FAILED);
	return address;
}

char *probe_map_huge(long huge_pages)
{
	size_t huge = HUGE_PAGES * page_size();
	char *address = probe_map_untouched((huge_pages + 1) * HUGE_PAGES);

	return (char *)(((unsigned long)address + huge - 1) & ~(huge - 1));
}

void probe_touch(char *address, long pages)
{
	long i;

	for (i = 0; i < pages; i++)
		*(long *)(address + i * page_size()) = i + 1;
}

char *probe_map(long pages)
{
	char *address = probe_map_untouched(pages);

	probe_touch(address, pages);
	return address;
}

int probe_file(const char *folder, long pages)
{
	int fd = unnamed_file(folder, pages);

	if (fd < 0)
		probe_fail("a file in %s: %m", folder);
	return fd;
}

/* Ask where pages are, or, with @nodes, move them. Negative in @status: an errno. */
static long move_pages(const char *address, long pages, const int *nodes, int *status)
{
	void **at = calloc(pages, sizeof(*at));
	long i, ret;

	PROBE_MUST(at);
	for (i = 0; i < pages; i++)
		at[i] = (void *)(address + i * page_size());
	ret = syscall(SYS_move_pages, 0, pages, at, nodes, status, nodes ? MPOL_MF_MOVE : 0);
	free(at);
	return ret;
}

long probe_on(const char *address, long pages, int node)
{
	int *status = calloc(pages, sizeof(*status));
	long i, count = 0;

	PROBE_MUST(status);
	PROBE_MUST(!move_pages(address, pages, NULL, status));
	for (i = 0; i < pages; i++)
		count += status[i] == node;
	free(status);
	return count;
}

void move_to(char *address, long pages, int node)
{
	int *status = calloc(pages, sizeof(*status)), *nodes = calloc(pages, sizeof(*nodes));
	long i, ret;

	PROBE_MUST(status && nodes);
	for (i = 0; i < pages; i++)
		nodes[i] = node;
	ret = move_pages(address, pages, nodes, status);
	if (ret < 0)
		probe_fail("move_pages to node %d: %m", node);
	ret = probe_on(address, pages, node);
	if (ret != pages)
		probe_fail("move_pages brought %ld of %ld pages to node %d", ret, pages, node);
	free(status);
	free(nodes);
}

/* --- policies */

void policy_task_mask(int mode, unsigned long nodes)
{
	if (syscall(SYS_set_mempolicy, mode, nodes ? &nodes : NULL, nodes ? MAX_NODES : 0))
		probe_fail("set_mempolicy(%d, 0x%lx): %m", mode, nodes);
}

void policy_task(int mode, int node)
{
	policy_task_mask(mode, node < 0 ? 0 : 1UL << node);
}

void policy_range(const char *address, long pages, int mode, int node)
{
	unsigned long nodes = 1UL << node;

	if (syscall(SYS_mbind, address, pages * page_size(), mode, &nodes, MAX_NODES, 0))
		probe_fail("mbind(%d, node %d): %m", mode, node);
}

unsigned long nodes_allowed(void)
{
	unsigned long nodes = 0;

	PROBE_MUST(!syscall(SYS_get_mempolicy, NULL, &nodes, MAX_NODES, NULL,
			    MPOL_F_MEMS_ALLOWED));
	return nodes;
}

/* --- the kernel's files */

static long read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long length = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (length < 0)
		return -1;
	text[length] = '\0';
	return length;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t length = strlen(text);
	bool ok = fd >= 0 && write(fd, text, length) == length;
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return ok;
}

const char *text_in(const char *path)
{
	static char text[100];

	if (read_text(path, text, sizeof(text)) < 0)
		probe_fail("%s: %m", path);
	return text;
}

long number_in(const char *path)
{
	return atol(text_in(path));
}

long field_in(const char *path, const char *field)
{
	char text[8192], *at;

	if (read_text(path, text, sizeof(text)) < 0)
		probe_fail("%s: %m", path);
	at = strstr(text, field);
	if (!at)
		probe_fail("%s has no %s", path, field);
	return atol(at + strlen(field));
}

long node_pages(int node, const char *field)
{
	char path[80], line[60];

	/* The counts of each processor are brought together now and then, or when asked. */
	write_text("/proc/sys/vm/stat_refresh", "1");
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	snprintf(line, sizeof(line), "Node %d %s:", node, field);
	return field_in(path, line) * 1024 / (long)page_size();
}

/* The device's node is the one with memory and without processors. -1: there is none. */
static int node_without_cpus(void)
{
	char path[80];
	int node;

	for (node = SYSTEM_NODE + 1; node < (int)MAX_NODES; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
		if (!access(path, F_OK) && node_pages(node, "MemTotal") > 0)
			return node;
	}
	return -1;
}

bool probe_find_node(bool *cdm)
{
	struct devmodel_info info;
	int dev = devmodel_open(NULL);

	if (dev < 0 || devmodel_info(dev, &info)) {
		warnx("%s", devmodel_error());
		return false;
	}
	devmodel_close(dev);
	*cdm = info.model == DEVMODEL_MODEL_CDM;
	if (!*cdm && info.model != DEVMODEL_MODEL_NUMA) {
		warnx("the device's memory is no NUMA node; boot numa or cdm");
		return false;
	}
	probe_node = node_without_cpus();
	if (probe_node < 0)
		warnx("there is no node but node %d", SYSTEM_NODE);
	return probe_node >= 0;
}

bool wait_growth(const char *path, const char *field, long since, long growth, int seconds)
{
	long left;

	for (left = seconds * 100; left > 0; left--) {
		long now = field ? field_in(path, field) : number_in(path);

		if (now - since >= growth)
			return true;
		sleep_ms(10);
	}
	return false;
}

/* --- settings */

void setting(const char *path, const char *format, ...)
{
	struct probe_shared *shared = probe_shared;
	char text[60], *old = shared->setting[shared->settings].text;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	PROBE_MUST((size_t)shared->settings < sizeof(shared->setting) / sizeof(shared->setting[0]));
	if (read_text(path, old, sizeof(shared->setting[0].text)) < 0)
		probe_fail("%s: %m", path);
	/* "always [madvise] never": what is chosen stands in brackets. */
	if (strchr(old, '[')) {
		memmove(old, strchr(old, '[') + 1, strlen(strchr(old, '[')));
		old[strcspn(old, "]")] = '\0';
	}
	snprintf(shared->setting[shared->settings].path,
		 sizeof(shared->setting[0].path), "%s", path);
	shared->settings++;
	if (!write_text(path, text))
		probe_fail("%s to %s: %m", text, path);
}

void settings_restore(void)
{
	struct probe_shared *shared = probe_shared;

	if (shared->swap[0])
		swapoff(shared->swap);
	shared->swap[0] = '\0';
	/*
	 * Room first. The mark goes up from 4 MiB to 44, above what a probe left
	 * free: then who allocates waits for kswapd, and kswapd may see no work,
	 * since it looks at one zone after the other (docs/models.md).
	 */
	write_text("/proc/sys/vm/drop_caches", "1");
	while (shared->settings > 0) {
		shared->settings--;
		if (!write_text(shared->setting[shared->settings].path,
				shared->setting[shared->settings].text))
			fprintf(stderr, "dm-probe: %s is not as it was: %m\n",
				shared->setting[shared->settings].path);
	}
}

static void swap_to(const char *device)
{
	char command[80];

	snprintf(command, sizeof(command), "mkswap %s >/dev/null", device);
	PROBE_MUST(!system(command));
	snprintf(probe_shared->swap, sizeof(probe_shared->swap), "%s", device);
	PROBE_MUST(!swapon(device, 0));
}

void swap_on(void)
{
	load_module(SWAP_MODULE);
	swap_to(SWAP_DEVICE);
}

void swap_on_disk(void)
{
	static const char commands[] =
		"set -e; truncate -s 64M " SWAP_FILE "; loop=$(losetup -f); "
		"losetup $loop " SWAP_FILE "; rm " SWAP_FILE "; echo $loop";
	char device[40] = "", command[60];
	FILE *shell = popen(commands, "r");

	PROBE_MUST(shell && fgets(device, sizeof(device), shell) && !pclose(shell));
	device[strcspn(device, "\n")] = '\0';
	swap_to(device);
	/* It goes when it is no longer swapped to. */
	snprintf(command, sizeof(command), "losetup -d %s", device);
	PROBE_MUST(!system(command));
}

void group_enter(const char *controller)
{
	char text[40];

	snprintf(text, sizeof(text), "+%s", controller);
	PROBE_MUST(write_text(PROBE_CGROUPS "/cgroup.subtree_control", text));
	PROBE_MUST(write_text(PROBE_CGROUPS "/probe/cgroup.procs", "0"));
}

void groups_end(void)
{
	/* That there is a cpuset anywhere keeps 7.2 from balancing where there is one node. */
	write_text(PROBE_CGROUPS "/cgroup.subtree_control", "-cpuset -memory");
}
