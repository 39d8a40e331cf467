/* SPDX-License-Identifier: MIT */
/*
 * Memory that does not come: a file of a FUSE file system whose server answers
 * everything but READ.
 *
 *	struct stall stall = stall_begin();
 *	int fd = stall_open(&stall);
 *
 *	... somebody maps it, and touches it ...
 *	stall_wait(&stall);	(until the first READ has come)
 *	stall_end(&stall);	(who waits for it gets an error)
 */
#ifndef _STALL_H
#define _STALL_H

#include <stddef.h>
#include <sys/types.h>

#define STALL_PAGES	16

struct stall {
	pid_t server;
	int reads;		/* a byte for each READ */
	char folder[32];
};

/* Start the server and mount. Ends the test if that is not possible; skips it without FUSE. */
struct stall stall_begin(void);
/* Its one file, for reading. */
int stall_open(const struct stall *stall);
/* Map a file's STALL_PAGES. */
void *stall_map(int fd);
/* Until so many more READs have come; ends the test if they do not. */
void stall_wait(const struct stall *stall, size_t count);
/* Kill the server, so that who waits waits no longer, and unmount. */
void stall_end(const struct stall *stall);

#endif /* _STALL_H */
