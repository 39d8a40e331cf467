// SPDX-License-Identifier: MIT
/*
 * What nothing can kill, to see what becomes of it: a process that writes to a
 * frozen file system. Done if they are named, and not listed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "probe.h"

/* The end of the probes thaws it. */
static void freeze(void)
{
	int fd = open(PROBE_DISK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	PROBE_MUST(fd >= 0 && !ioctl(fd, FIFREEZE, 0));
	close(fd);
}

static struct probe_count stuck(void)
{
	int fd = probe_file(PROBE_DISK, 1);

	freeze();
	PROBE_MUST(write(fd, "1", 1) == 1);
	return (struct probe_count) {};
}

static struct probe_count stuck_setting(void)
{
	static const char path[] = PROBE_DISK "/setting";

	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	PROBE_MUST(write_text(path, "0"));
	setting(path, "1");
	freeze();
	return (struct probe_count) {};
}

const struct probe probes_stuck[] = {
	{ "stuck", PROBE_NEVER, stuck, "a write to a frozen file system" },
	{ "stuck-setting", PROBE_NEVER, stuck_setting, "a setting that cannot be put back" },
	{}
};
