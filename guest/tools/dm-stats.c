// SPDX-License-Identifier: MIT
/* The driver's and the device's counters: as they stand, or over a command. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"
#include "../uapi/devmodel_stats.h"
#include "samples.h"

/*
 * How often is looked while a command runs, at most. Where HBM is a node, its
 * pages are counted one by one: a fiftieth of a processor may go into it.
 */
#define LOOK_SECONDS	0.002
#define COMMANDS_SHARE	50
/* As of env and nice: no fault of the command's. */
#define NOT_FOUND	127
#define NOT_RUN		126
#define OWN_FAULT	125
#define SIGNALLED	128

extern char **environ;

static int usage(int code)
{
	printf("usage: dm-stats [--json] [--output FILE] [DEVICE]\n"
	       "       dm-stats [--json] [--output FILE] -- COMMAND [ARGUMENT...]\n"
	       "The counters of the driver and the device since the driver took it, over all\n"
	       "processes; what is held now does not count this program itself.\n"
	       "Over a command: by how much those rose that only rise, the most HBM that was seen\n"
	       "in use, and the time; on stderr if no file is named. In JSON, samples has how all that\n"
	       "stood meanwhile. The exit code is the command's,\n"
	       "128 + N if signal N ended it, 127 or 126 if it cannot be run, 125 for what else is\n"
	       "amiss. Example: dm-stats -- dm-run sum @1048576 131072\n");
	return code;
}

static void fail(int code)
{
	fprintf(stderr, "dm-stats: %s\n", devmodel_error());
	exit(code);
}

static struct devmodel_stats look(int dev, int code)
{
	struct devmodel_stats stats;

	if (devmodel_stats(dev, &stats))
		fail(code);
	stats.mirrors--;
	stats.page_table_pages -= stats.my_page_table_pages;
	return stats;
}

/*
 * All numbers, the first ones as what they are above @before. In JSON, @first
 * stands before them: an object's beginning. If there are samples, they are its end.
 */
static void show(FILE *out, bool json, const char *first, const struct devmodel_stats *before,
		 const struct devmodel_stats *stats, const struct samples *samples)
{
	int i;

	if (json)
		fprintf(out, "%s", first);
	for (i = 0; i < DEVMODEL_STATS_SHOWN; i++) {
		unsigned long long value = devmodel_stat_value(stats, i);
		unsigned long long base = devmodel_stat_value(before, i);

		/* Less than before: a device that came back began again. */
		if (i < DEVMODEL_STATS_RISING && value >= base)
			value -= base;
		if (json)
			fprintf(out, "%s\"%s\": %llu", i ? ", " : "", devmodel_stat[i].name, value);
		else
			fprintf(out, "%-24s %llu %s\n", devmodel_stat[i].name, value,
				devmodel_stat[i].unit);
	}
	if (json && samples) {
		fprintf(out, ", \"samples\": ");
		samples_print(out, samples);
	}
	if (json)
		fprintf(out, "}\n");
}

static double seconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static double now(void)
{
	return seconds(CLOCK_MONOTONIC);
}

static pid_t start(char **words)
{
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid;

	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	errno = posix_spawnp(&pid, words[0], NULL, &attributes, words, environ);
	if (errno) {
		bool there = errno == ENOENT && !access(words[0], F_OK);

		fprintf(stderr, "dm-stats: %s: %s\n", words[0],
			there ? "what it is to be run by is not in this guest" : strerror(errno));
		exit(errno == ENOENT ? NOT_FOUND : NOT_RUN);
	}
	posix_spawnattr_destroy(&attributes);
	return pid;
}

/*
 * Until the command has ended, which began at @begin. Returns its exit code;
 * @most is the most HBM that was in use. SIGCHLD is blocked.
 */
static int await(int dev, pid_t pid, double begin, uint64_t *most, struct samples *samples)
{
	struct devmodel_stats stats;
	struct timespec pause;
	double at, start, rest;
	sigset_t child;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while (waitpid(pid, &status, WNOHANG) != pid) {
		start = seconds(CLOCK_PROCESS_CPUTIME_ID);
		at = now() - begin;
		if (!devmodel_stats(dev, &stats)) {
			if (stats.hbm_bytes_in_use > *most)
				*most = stats.hbm_bytes_in_use;
			samples_add(samples, at, samples_resident(pid), &stats);
		}
		rest = (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) * COMMANDS_SHARE;
		rest = rest < samples->interval ? samples->interval : rest;
		pause.tv_sec = rest;
		pause.tv_nsec = (rest - pause.tv_sec) * 1e9;
		sigtimedwait(&child, NULL, &pause);
	}
	return WIFSIGNALED(status) ? SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

static int over(int dev, bool json, FILE *out, char **words)
{
	static struct samples samples = { .interval = LOOK_SECONDS };
	struct devmodel_stats before = look(dev, OWN_FAULT), after;
	uint64_t most = before.hbm_bytes_in_use;
	char first[80] = "";
	sigset_t child;
	double begin;
	int code;

	/* Whoever started this may have ignored it, and then there is nobody to wait for. */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	samples_add(&samples, 0, 0, &before);
	begin = now();
	code = await(dev, start(words), begin, &most, &samples);
	begin = now() - begin;
	after = look(dev, OWN_FAULT);
	samples_add(&samples, begin, 0, &after);
	if (after.hbm_bytes_in_use < most)
		after.hbm_bytes_in_use = most;
	if (json)
		snprintf(first, sizeof(first), "{\"exit_code\": %d, \"wall_seconds\": %.3f, ", code,
			 begin);
	else
		fprintf(out, "%-24s %d\n%-24s %.3f s\n", "exit_code", code, "wall_seconds", begin);
	show(out, json, first, &before, &after, &samples);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	static const struct devmodel_stats zero;
	struct devmodel_stats stats;
	const char *output = NULL;
	bool json = false, command;
	int option, dev, code = 0;
	FILE *out;

	while ((option = getopt_long(argc, argv, "+jo:h", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'o':
			output = optarg;
			break;
		default:
			return usage(option == 'h' ? 0 : 2);
		}
	}
	/* A command comes after --; a device is the only word. */
	command = optind < argc && !strcmp(argv[optind - 1], "--");
	if (!command && argc - optind > 1)
		return usage(2);
	dev = devmodel_open(command || optind == argc ? NULL : argv[optind]);
	if (dev < 0)
		fail(command ? OWN_FAULT : 1);
	out = command ? stderr : stdout;
	if (output && !(out = fopen(output, "we"))) {
		fprintf(stderr, "dm-stats: %s: %s\n", output, strerror(errno));
		return command ? OWN_FAULT : 1;
	}
	if (command) {
		code = over(dev, json, out, argv + optind);
	} else {
		stats = look(dev, 1);
		show(out, json, "{", &zero, &stats, NULL);
	}
	return code;
}
