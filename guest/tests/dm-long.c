// SPDX-License-Identifier: MIT
/* Requests of the driver that take as long as the range that they are about is long. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define LENGTH		(1ULL << 45)
/* All that a process may have, but for the last page. */
#define EVERYTHING	((1ULL << 47) - 4096)
/* Arrays for what is told of each page are this much memory, again and again. */
#define PIECE		(16UL << 20)
#define DMIRROR		"/dev/hmm_dmirror0"

/* lib/test_hmm_uapi.h is not among a kernel's installed headers. */
struct hmm_dmirror_cmd {
	uint64_t addr;
	uint64_t ptr;
	uint64_t npages;
	uint64_t cpages;
	uint64_t faults;
};

#define DMIRROR_READ		_IOWR('H', 0x00, struct hmm_dmirror_cmd)
#define DMIRROR_MIGRATE_TO_SYS	_IOWR('H', 0x03, struct hmm_dmirror_cmd)
#define DMIRROR_SNAPSHOT	_IOWR('H', 0x04, struct hmm_dmirror_cmd)
#define DMIRROR_CHECK_EXCLUSIVE	_IOWR('H', 0x06, struct hmm_dmirror_cmd)

static void *map(size_t length, int protection)
{
	void *address = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			     -1, 0);

	if (address == MAP_FAILED)
		err(2, "mmap of 0x%zx bytes", length);
	return address;
}

static void *array(size_t length)
{
	int fd = memfd_create("array", MFD_CLOEXEC);
	char *address = map(length, PROT_NONE);
	size_t at;

	if (fd < 0 || ftruncate(fd, PIECE))
		err(2, "memfd");
	for (at = 0; at < length; at += PIECE)
		if (mmap(address + at, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 0) == MAP_FAILED)
			err(2, "mmap");
	return address;
}

/* What it takes to make the request has been done. */
static void begin(void)
{
	puts("begun");
	fflush(stdout);
}

static int dmirror(unsigned long request, uint64_t address)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = address,
		.ptr = (uintptr_t)array(LENGTH / page_size()),
		.npages = LENGTH / page_size(),
	};
	int fd = open(DMIRROR, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		err(2, DMIRROR);
	begin();
	return ioctl(fd, request, &cmd);
}

static int opened(void)
{
	int dev = devmodel_open(NULL);

	if (dev < 0)
		errx(2, "%s", devmodel_error());
	return dev;
}

static int migrate(void)
{
	int dev = opened();

	begin();
	return devmodel_migrate(dev, NULL, EVERYTHING, DEVMODEL_TARGET_DEVICE, NULL, NULL);
}

static int migrate_back(void)
{
	int dev = opened();

	begin();
	return devmodel_migrate(dev, NULL, EVERYTHING, DEVMODEL_TARGET_SYSTEM, NULL, NULL);
}

static int snapshot(void)
{
	size_t size = LENGTH / page_size() * sizeof(uint32_t);
	uint32_t *cpu = array(size), *device = array(size);
	int dev = opened();

	begin();
	return devmodel_snapshot(dev, NULL, LENGTH, cpu, device);
}

static int dmirror_snapshot(void)
{
	return dmirror(DMIRROR_SNAPSHOT, 0);
}

static int dmirror_check_exclusive(void)
{
	return dmirror(DMIRROR_CHECK_EXCLUSIVE, 0);
}

static int dmirror_migrate(void)
{
	return dmirror(DMIRROR_MIGRATE_TO_SYS, (uintptr_t)map(LENGTH, PROT_READ));
}

static const struct {
	const char *name;
	int (*run)(void);
} requests[] = {
	{ "migrate", migrate },
	{ "migrate-back", migrate_back },
	{ "snapshot", snapshot },
	{ "dmirror-snapshot", dmirror_snapshot },
	{ "dmirror-check-exclusive", dmirror_check_exclusive },
	{ "dmirror-migrate", dmirror_migrate },
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; argc == 2 && i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (strcmp(argv[1], requests[i].name))
			continue;
		if (requests[i].run())
			printf("%d\n", errno);
		return 0;
	}
	printf("usage: dm-long REQUEST\n"
	       "Makes a request about all addresses, or 2^45 bytes of them, which takes minutes.\n"
	       "Prints \"begun\", and the number of the error, if it is one. REQUEST is one of:\n");
	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		printf("  %s\n", requests[i].name);
	return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
}
