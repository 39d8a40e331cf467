// SPDX-License-Identifier: MIT
/*
 * Placement probes: in how many ways can memory come to lie on the device's
 * node, asked for or not, and what does the kernel do in each? See probe.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/child.h"
#include "probe.h"

#define DEFAULT_SECONDS	60

static const struct probe * const tables[] = {
	probes_pressure, probes_movers, probes_kernel, probes_hugetlb, probes_asked,
	probes_groups, probes_masks, probes_others, probes_counts,
};

#define TABLES	(sizeof(tables) / sizeof(tables[0]))

static const struct probe *find_in(const struct probe *probe, const char *name)
{
	for (; probe->name; probe++)
		if (!strcmp(probe->name, name))
			return probe;
	return NULL;
}

static const struct probe *find(const char *name)
{
	const struct probe *found = find_in(probes_stuck, name);
	size_t i;

	for (i = 0; i < TABLES && !found; i++)
		found = find_in(tables[i], name);
	return found;
}

static bool asked(const struct probe *probe)
{
	return probe->rule == PROBE_ASKED || probe->rule == PROBE_STAYS;
}

static bool allowed(const struct probe *probe, bool cdm)
{
	return asked(probe) || (probe->rule == PROBE_SPILLS && !cdm);
}

static bool good(const struct probe *probe, bool cdm, const struct probe_count *count)
{
	switch (probe->rule) {
	case PROBE_SPILLS:
		return cdm ? !count->arrived : count->arrived > 0;
	case PROBE_NEVER:
		return !count->arrived;
	case PROBE_ASKED:
		/* More than asked for, of an interleave: that spilled. */
		return cdm ? count->arrived == count->of : count->arrived >= count->of;
	case PROBE_STAYS:
		return cdm ? count->arrived == count->of : count->arrived < count->of;
	}
	return false;
}

/* For what is done in one piece; a probe is, and putting the settings back is. */
static unsigned int seconds = DEFAULT_SECONDS;
/* More of them, and it is the kernel that is probed no longer. */
#define MOST_STUCK	3
static int nstuck;

/* One more reason for this probe to have no result. */
__attribute__((format(printf, 1, 2)))
static void because(const char *format, ...)
{
	char *why = probe_shared->why;
	size_t used = strlen(why);
	va_list args;

	if (used)
		used += snprintf(why + used, sizeof(probe_shared->why) - used, "; ");
	if (used >= sizeof(probe_shared->why))
		return;
	va_start(args, format);
	vsnprintf(why + used, sizeof(probe_shared->why) - used, format, args);
	va_end(args);
}

/*
 * Nothing that is asked of the kernel is sure to end, be it that it is killed.
 * So it is done by a process that is waited for for a limited time. Returns
 * whether it was done.
 */
static bool limited(const char *what, void (*work)(const struct probe *),
		    const struct probe *probe)
{
	pid_t child = child_fork();
	struct child_end end;

	if (!child) {
		work(probe);
		_exit(EXIT_SUCCESS);
	}
	if (child < 0) {
		because("fork: %s", strerror(errno));
		return false;
	}
	end = child_end(child, seconds, stderr);
	if (*end.stuck) {
		nstuck++;
		because("%sis stuck in the kernel: %s", what, end.stuck);
		return false;
	}
	if (end.late)
		because("%snot done in %u s", what, seconds);
	else if (WIFSIGNALED(end.status))
		because("%sended by signal %d (%s)", what, WTERMSIG(end.status),
			strsignal(WTERMSIG(end.status)));
	return !end.late && end.status == 0;
}

static void do_probe(const struct probe *probe)
{
	probe_shared->count = probe->run();
}

static void restore(const struct probe *unused)
{
	(void)unused;
	settings_restore();
	groups_end();
}

/* Returns whether it has a result. */
static bool measure(const struct probe *probe)
{
	bool done;

	if (nstuck >= MOST_STUCK) {
		because("not tried: %d processes are stuck", nstuck);
		return false;
	}
	if (!ballast_take()) {
		because("node %d could not be filled", SYSTEM_NODE);
		return false;
	}
	done = limited("", do_probe, probe);
	return limited("putting settings back ", restore, NULL) && done;
}

/* One line of JSON. Nothing in it has to be quoted. */
static bool run(const struct probe *probe, bool cdm)
{
	const struct probe_count *count = &probe_shared->count;
	struct timespec begin, end;
	bool measured, ok;

	probe_shared->count = (struct probe_count) {};
	probe_shared->why[0] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &begin);
	measured = measure(probe);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok = measured && good(probe, cdm, count);

	printf("{\"name\": \"%s\", \"asked\": \"%s\", \"arrived\": %ld, \"allowed\": %s, "
	       "\"ok\": %s, \"of\": %ld, \"seconds\": %.2f, \"about\": \"%s\", \"why\": \"%s\"}\n",
	       probe->name, asked(probe) ? "node" : "nothing", count->arrived,
	       allowed(probe, cdm) ? "true" : "false", ok ? "true" : "false", count->of,
	       end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9, probe->about,
	       measured ? "" : probe_shared->why);
	fflush(stdout);
	return ok;
}

static int complain(const char *text)
{
	fprintf(stderr, "dm-probe: %s\n", text);
	return 1;
}

static void find_node(const struct probe *unused)
{
	(void)unused;
	if (!probe_find_node(&probe_shared->cdm))
		_exit(EXIT_FAILURE);
	probe_shared->node = probe_node;
}

static void begin(const struct probe *unused)
{
	(void)unused;
	if (!probe_fixture())
		probe_fail("file systems for the probes could not be made");
}

static void end(const struct probe *unused)
{
	(void)unused;
	probe_fixture_end();
}

static void finish(void)
{
	ballast_end();
	probe_shared->why[0] = '\0';
	if (!limited("taking the file systems away ", end, NULL))
		complain(probe_shared->why);
}

static int run_all(int count, char **names)
{
	const struct probe *probe;
	int failures = 0, i;
	size_t table;
	bool cdm;

	if (!limited("finding the node ", find_node, NULL))
		return *probe_shared->why ? complain(probe_shared->why) : 1;
	probe_node = probe_shared->node;
	cdm = probe_shared->cdm;
	if (!limited("", begin, NULL)) {
		complain(probe_shared->why);
		finish();
		return 1;
	}
	if (count)
		for (i = 0; i < count; i++)
			failures += !run(find(names[i]), cdm);
	else
		for (table = 0; table < TABLES; table++)
			for (probe = tables[table]; probe->name; probe++)
				failures += !run(probe, cdm);
	finish();
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "list", no_argument, NULL, 'l' },
		{ "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	const struct probe *probe;
	int option, i;
	size_t table;

	while ((option = getopt_long(argc, argv, "hls:", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			printf("usage: %s [--list] [--seconds N] [NAME ...]\n"
			       "Placement probes on the device's NUMA node, all of them or those named;\n"
			       "a line of JSON each. Exit code 0 if each is as the memory model has it.\n"
			       "A probe has N seconds (%d), and 10 to die if they are over. What stays in the\n"
			       "kernel then is told, and the next one's turn comes.\n",
			       argv[0], DEFAULT_SECONDS);
			return 0;
		case 'l':
			for (table = 0; table < TABLES; table++)
				for (probe = tables[table]; probe->name; probe++)
					printf("%s\n", probe->name);
			return 0;
		case 's':
			seconds = strtoul(optarg, NULL, 10);
			if (seconds)
				break;
			complain("--seconds wants a number above 0");
			return 2;
		default:
			return 2;
		}
	}
	for (i = optind; i < argc; i++) {
		if (!find(argv[i])) {
			fprintf(stderr, "dm-probe: there is no probe %s; --list names them\n", argv[i]);
			return 2;
		}
	}
	probe_shared = mmap(NULL, sizeof(*probe_shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (probe_shared == MAP_FAILED)
		return complain(strerror(errno));
	/* What a probe has started and left behind is waited for, too. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return run_all(argc - optind, argv + optind);
}
