/* SPDX-License-Identifier: MIT */
/* Processes that have a limited time, and what becomes of them, also if nothing can kill them. */
#ifndef _CHILD_H
#define _CHILD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct child_end {
	int status;	/* as of waitpid(), unless it is stuck */
	bool late;	/* it did not end in its time, and was killed */
	/* Where in the kernel one of its group still is 10 s after SIGKILL; empty: all are gone. */
	char stuck[64];
};

/* As fork(); the child leads a process group of its own. */
pid_t child_fork(void);
/*
 * Wait for such a child to end, then kill what is left of its group and wait
 * for that: for the child, and for others as far as this process is or becomes
 * their parent (PR_SET_CHILD_SUBREAPER). State and stack of those that stay go
 * to @log, as lines that begin with "# ". Takes @seconds and half a minute at most.
 */
struct child_end child_end(pid_t leader, unsigned int seconds, FILE *log);

#endif /* _CHILD_H */
