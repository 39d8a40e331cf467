// SPDX-License-Identifier: MIT
/* See stall.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/kernel.h"
#include "ktap.h"
#include "stall.h"

#define FILE_NODE	2
#define FILE_NAME	"file"
/* An answer is good for so many seconds. */
#define VALID		3600
/* More than any request here. */
#define REQUEST		(1 << 20)
#define PATIENCE_MS	20000

static void reply(int fuse, const struct fuse_in_header *request, int error, const void *data,
		  size_t size)
{
	struct {
		struct fuse_out_header header;
		char data[256];
	} out = {
		.header = {
			.len = sizeof(out.header) + size,
			.error = error,
			.unique = request->unique,
		},
	};

	if (size)
		memcpy(out.data, data, size);
	/* Who asked may have gone meanwhile. */
	if (write(fuse, &out, out.header.len) < 0 && errno != ENOENT)
		_exit(1);
}

static struct fuse_attr attributes(uint64_t node)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr) {
		.ino = node,
		.size = file ? STALL_PAGES * page_size() : 0,
		.mode = file ? S_IFREG | 0644 : S_IFDIR | 0755,
		.nlink = 1,
		.blksize = page_size(),
	};
}

static void answer(int fuse, const struct fuse_in_header *request, const void *data, int reads)
{
	const struct fuse_init_in *init = data;
	struct fuse_init_out inited = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_background = 64,
		.congestion_threshold = 64,
		.max_write = page_size(),
	};
	struct fuse_entry_out entry = {
		.nodeid = FILE_NODE,
		.entry_valid = VALID,
		.attr_valid = VALID,
		.attr = attributes(FILE_NODE),
	};
	struct fuse_attr_out attr = { .attr_valid = VALID, .attr = attributes(request->nodeid) };
	struct fuse_open_out opened = { .open_flags = FOPEN_KEEP_CACHE };

	switch (request->opcode) {
	case FUSE_INIT:
		inited.max_readahead = init->max_readahead;
		reply(fuse, request, 0, &inited, sizeof(inited));
		break;
	case FUSE_LOOKUP:
		if (strcmp(data, FILE_NAME))
			reply(fuse, request, -ENOENT, NULL, 0);
		else
			reply(fuse, request, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		reply(fuse, request, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		reply(fuse, request, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		/* For ever. */
		if (write(reads, "", 1) < 0 && errno != EAGAIN)
			_exit(1);
		break;
	case FUSE_RELEASE:
		reply(fuse, request, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		/* No answer is wanted. */
		break;
	default:
		reply(fuse, request, -ENOSYS, NULL, 0);
	}
}

static void __attribute__((noreturn)) serve(int fuse, int reads)
{
	char *request = malloc(REQUEST);

	for (;;) {
		ssize_t size = read(fuse, request, REQUEST);

		if (size < (ssize_t)sizeof(struct fuse_in_header)) {
			/* Interrupted before it was read. */
			if (size < 0 && (errno == ENOENT || errno == EINTR))
				continue;
			_exit(0);
		}
		answer(fuse, (const void *)request, request + sizeof(struct fuse_in_header), reads);
	}
}

/* In the server: it alone has /dev/fuse open, so that its end is the file system's. */
static void __attribute__((noreturn)) begin(const char *folder, int reads)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[80];

	if (fuse < 0)
		_exit(1);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		 fuse);
	/* Nobody is asked anything before INIT is answered. */
	if (mount("stall", folder, "fuse", MS_NOSUID | MS_NODEV, options))
		_exit(2);
	if (write(reads, "", 1) != 1)
		_exit(3);
	if (fcntl(reads, F_SETFL, O_NONBLOCK))
		_exit(4);
	serve(fuse, reads);
}

struct stall stall_begin(void)
{
	struct stall stall = { .folder = "/tmp/stall-XXXXXX" };
	int ends[2];

	load_module("fuse");
	if (access("/dev/fuse", F_OK))
		ktap_skip("this kernel has no FUSE");
	EXPECT(mkdtemp(stall.folder));
	EXPECT(!chmod(stall.folder, 0755));
	EXPECT(!pipe(ends));
	stall.server = fork();
	EXPECT(stall.server >= 0);
	if (!stall.server) {
		/* However a test ends, nobody stays stuck. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		begin(stall.folder, ends[1]);
	}
	close(ends[1]);
	stall.reads = ends[0];
	stall_wait(&stall, 1);
	return stall;
}

int stall_open(const struct stall *stall)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, stall->folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	return fd;
}

void *stall_map(int fd)
{
	void *address = mmap(NULL, STALL_PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE,
			     fd, 0);

	EXPECT(address != MAP_FAILED);
	return address;
}

void stall_wait(const struct stall *stall, size_t count)
{
	struct pollfd reads = { .fd = stall->reads, .events = POLLIN };
	char byte;

	for (; count; count--) {
		if (poll(&reads, 1, PATIENCE_MS) != 1)
			ktap_fail(__FILE__, __LINE__, "nobody reads");
		EXPECT_EQ(read(stall->reads, &byte, 1), 1);
	}
}

void stall_end(const struct stall *stall)
{
	/* Or somebody else has. */
	if (!kill(stall->server, SIGKILL))
		EXPECT_EQ(waitpid(stall->server, NULL, 0), stall->server);
	EXPECT(!umount2(stall->folder, MNT_DETACH));
	EXPECT(!rmdir(stall->folder));
	close(stall->reads);
}
