// SPDX-License-Identifier: MIT
/* See child.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"

#define KILL_MS		10000
#define STACK_MS	1000

pid_t child_fork(void)
{
	pid_t child = fork();

	/* Whoever comes first: both count on it. */
	if (child >= 0)
		setpgid(child, 0);
	return child;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until a child, or each one of a group (-@who), is gone. False: one is still there. */
static bool reap(pid_t who, int *status, unsigned int ms)
{
	long end = now_ms() + ms;
	pid_t ended;

	for (;;) {
		ended = waitpid(who, status, WNOHANG);
		if (ended < 0)
			return true;
		if (ended > 0)
			continue;
		if (now_ms() >= end)
			return false;
		nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
	}
}

static void print_stack(pid_t process, pid_t thread, FILE *log)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", process, thread);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		fprintf(log, "#   %s", line);
	fflush(log);
	_exit(0);
}

/* To look at a stack is to wait for an exec() to end, and this one may never. */
static void tell_stack(pid_t process, pid_t thread, FILE *log)
{
	pid_t helper = fork();

	if (!helper)
		print_stack(process, thread, log);
	if (helper > 0 && !reap(helper, NULL, STACK_MS)) {
		kill(helper, SIGKILL);
		fprintf(log, "#   no stack within %d ms\n", STACK_MS);
	}
}

/* The first line of a thread's file that begins with @field, without it. False: there is none. */
static bool line_of(pid_t process, pid_t thread, const char *name, const char *field, char *text,
		    size_t size)
{
	char path[64];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", process, thread, name);
	file = fopen(path, "r");
	while (file && !found && fgets(text, size, file))
		found = !strncmp(text, field, strlen(field));
	if (file)
		fclose(file);
	if (!found)
		return false;
	memmove(text, text + strlen(field), strlen(text) - strlen(field) + 1);
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static void tell_thread(pid_t process, pid_t thread, struct child_end *end, FILE *log)
{
	char name[64] = "", state[64], where[sizeof(end->stuck)];

	/* What has ended, but for another one of its threads, is not what we look for. */
	if (!line_of(process, thread, "status", "State:\t", state, sizeof(state)) ||
	    strchr("ZX", *state))
		return;
	line_of(process, thread, "comm", "", name, sizeof(name));
	/* "0": it runs. */
	if (!line_of(process, thread, "wchan", "", where, sizeof(where)) || !strcmp(where, "0"))
		snprintf(where, sizeof(where), "%s", state);
	fprintf(log, "# %d %s is still there. State: %s, in %s\n", thread, name, state, where);
	fflush(log);
	tell_stack(process, thread, log);
	if (!*end->stuck)
		memcpy(end->stuck, where, sizeof(where));
}

static void tell_process(pid_t process, struct child_end *end, FILE *log)
{
	char path[32];
	struct dirent *entry;
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	threads = opendir(path);
	while (threads && (entry = readdir(threads)))
		if (atoi(entry->d_name) > 0)
			tell_thread(process, atoi(entry->d_name), end, log);
	if (threads)
		closedir(threads);
}

static void tell_group(pid_t leader, struct child_end *end, FILE *log)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		pid_t process = atoi(entry->d_name);

		if (process > 0 && getpgid(process) == leader)
			tell_process(process, end, log);
	}
	if (proc)
		closedir(proc);
	if (!*end->stuck)
		strcpy(end->stuck, "?");
}

struct child_end child_end(pid_t leader, unsigned int seconds, FILE *log)
{
	struct child_end end = {};

	end.late = !reap(leader, &end.status, seconds * 1000);
	kill(-leader, SIGKILL);
	if (!reap(leader, &end.status, KILL_MS) || !reap(-leader, NULL, KILL_MS))
		tell_group(leader, &end, log);
	return end;
}
