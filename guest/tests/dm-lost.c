// SPDX-License-Identifier: MIT
/*
 * What a process sees of memory whose device is lost. Goes to the background
 * when its pages are in HBM; then somebody takes the device away, and says so.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

#define WORDS(pages)	((pages) * page_size() / sizeof(uint64_t))
#define MOST_PAGES	2048
#define MORE_PAGES	300

static sigjmp_buf after_sigbus;

static void on_sigbus(int number)
{
	(void)number;
	siglongjmp(after_sigbus, 1);
}

/* Look at each page: a SIGBUS, or the right bytes, or something else. */
static void look(const uint64_t *memory, size_t pages, size_t *sigbus, size_t *right)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	volatile size_t page;

	sigaction(SIGBUS, &action, NULL);
	*sigbus = *right = 0;
	for (page = 0; page < pages; page++) {
		if (sigsetjmp(after_sigbus, 1))
			++*sigbus;
		else
			*right += ((const volatile uint64_t *)memory)[WORDS(page)] == page + 1;
	}
}

static uint64_t *numbered(size_t pages)
{
	uint64_t *memory = map_anonymous(pages);
	size_t page;

	for (page = 0; page < pages; page++)
		memory[WORDS(page)] = page + 1;
	return memory;
}

static void tell(const char *path, int dev, uint64_t *memory, size_t pages, int64_t handle)
{
	uint64_t *more = numbered(MORE_PAGES);
	struct devmodel_migrate pulled = {}, pushed = {};
	size_t sigbus, right, more_sigbus, more_right;
	struct devmodel_wait end;
	int waited = 0, peer = -1;
	FILE *out;

	if (dev >= 0) {
		waited = devmodel_wait(dev, handle, 20000, &end) ? errno : 0;
		devmodel_migrate(dev, more, MORE_PAGES * page_size(), DEVMODEL_TARGET_DEVICE,
				 &pushed, NULL);
	}
	if (!access("/dev/devmodel1", F_OK)) {
		peer = devmodel_open("/dev/devmodel1");
		if (peer < 0 || devmodel_migrate(peer, memory, pages * page_size(),
						 DEVMODEL_TARGET_DEVICE, &pulled, NULL))
			errx(1, "%s", devmodel_error());
	}
	look(memory, pages, &sigbus, &right);
	look(more, MORE_PAGES, &more_sigbus, &more_right);
	out = fopen(path, "w");
	if (!out)
		err(1, "%s", path);
	fprintf(out, "{\"pages\": %zu, \"sigbus\": %zu, \"right\": %zu, \"wait_errno\": %d, "
		"\"pulled\": %llu, \"pushed\": %llu, \"more_lost\": %zu}\n", pages, sigbus, right,
		waited, (unsigned long long)pulled.moved, (unsigned long long)pushed.moved,
		(size_t)MORE_PAGES - more_right);
	fclose(out);
}

static void hold(const char *go, const char *told, bool keep_open, int ready)
{
	int dev = devmodel_open(NULL);
	struct devmodel_info info;
	uint64_t *memory, *word;
	int64_t handle = 0;
	size_t pages;

	if (dev < 0 || devmodel_info(dev, &info))
		errx(1, "%s", devmodel_error());
	pages = info.hbm_bytes / page_size();
	pages = pages < MOST_PAGES ? pages : MOST_PAGES;
	memory = numbered(pages);
	word = map_anonymous(1);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	if (keep_open) {
		handle = devmodel_launch(dev, "atomic_add", word, 1000000000000, 1);
		if (handle < 0)
			errx(1, "%s", devmodel_error());
	} else {
		devmodel_close(dev);
		dev = -1;
	}
	if (write(ready, "", 1) != 1)
		err(1, "pipe");
	close(ready);
	/* A FIFO: opened when somebody else opens it. */
	close(open(go, O_RDONLY));
	tell(told, dev, memory, pages, handle);
}

int main(int argc, char **argv)
{
	bool keep_open = argc == 3;
	int ready[2];
	char byte;

	if (argc < 3 || (argc == 4 && strcmp(argv[3], "--closed")) || argc > 4) {
		printf("usage: dm-lost GO TOLD [--closed]\n"
		       "Puts pages into HBM, goes to the background (with --closed without the device\n"
		       "open), waits until the FIFO GO is opened, and tells in TOLD what has become of\n"
		       "the pages.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	if (pipe(ready))
		err(1, "pipe");
	if (!fork()) {
		close(ready[0]);
		hold(argv[1], argv[2], keep_open, ready[1]);
		return 0;
	}
	close(ready[1]);
	return read(ready[0], &byte, 1) != 1;
}
