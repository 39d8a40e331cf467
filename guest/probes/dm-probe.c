// SPDX-License-Identifier: MIT
/*
 * Placement probes: in how many ways can memory come to lie on the device's
 * node, asked for or not, and what does the kernel do in each? See probe.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#define PROBE_SECONDS	30

static const struct probe * const tables[] = {
	probes_pressure, probes_movers, probes_kernel, probes_hugetlb, probes_asked,
};

#define TABLES	(sizeof(tables) / sizeof(tables[0]))

static const struct probe *find(const char *name)
{
	const struct probe *probe;
	size_t i;

	for (i = 0; i < TABLES; i++)
		for (probe = tables[i]; probe->name; probe++)
			if (!strcmp(probe->name, name))
				return probe;
	return NULL;
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

/* Run it in a process of its own. Returns whether it has a result. */
static bool measure(const struct probe *probe)
{
	pid_t child;
	int status;
	long left;

	probe_shared->count = (struct probe_count) {};
	probe_shared->why[0] = '\0';
	if (!ballast_take())
		return false;
	child = fork();
	if (!child) {
		setpgid(0, 0);
		probe_shared->count = probe->run();
		_exit(EXIT_SUCCESS);
	}
	if (child < 0)
		return false;
	for (left = PROBE_SECONDS * 100; waitpid(child, &status, WNOHANG) == 0; left--) {
		if (!left) {
			kill(-child, SIGKILL);
			snprintf(probe_shared->why, sizeof(probe_shared->why), "not done in %d s",
				 PROBE_SECONDS);
		}
		sleep_ms(10);
	}
	kill(-child, SIGKILL);
	settings_restore();
	groups_end();
	if (WIFSIGNALED(status) && !probe_shared->why[0])
		snprintf(probe_shared->why, sizeof(probe_shared->why), "ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	return status == 0;
}

/* One line of JSON. Nothing in it has to be quoted. */
static bool run(const struct probe *probe, bool cdm)
{
	const struct probe_count *count = &probe_shared->count;
	struct timespec begin, end;
	bool measured, ok;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	measured = measure(probe);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok = measured && good(probe, cdm, count);

	printf("{\"name\": \"%s\", \"asked\": \"%s\", \"arrived\": %ld, \"allowed\": %s, "
	       "\"ok\": %s, \"of\": %ld, \"seconds\": %.2f, \"about\": \"%s\", \"why\": \"%s\"}\n",
	       probe->name, asked(probe) ? "node" : "nothing", count->arrived,
	       allowed(probe, cdm) ? "true" : "false", ok ? "true" : "false", count->of,
	       end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9, probe->about, measured ? "" : probe_shared->why);
	fflush(stdout);
	return ok;
}

static int complain(const char *text)
{
	fprintf(stderr, "dm-probe: %s\n", text);
	return 1;
}

static int run_all(int count, char **names)
{
	const struct probe *probe;
	int failures = 0, i;
	size_t table;
	bool cdm;

	if (!probe_find_node(&cdm))
		return 1;
	if (!probe_fixture()) {
		probe_fixture_end();
		return complain("file systems for the probes could not be made");
	}
	if (count)
		for (i = 0; i < count; i++)
			failures += !run(find(names[i]), cdm);
	else
		for (table = 0; table < TABLES; table++)
			for (probe = tables[table]; probe->name; probe++)
				failures += !run(probe, cdm);
	probe_fixture_end();
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "list", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	const struct probe *probe;
	int option, i;
	size_t table;

	while ((option = getopt_long(argc, argv, "hl", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			printf("usage: %s [--list] [NAME ...]\n"
			       "Placement probes on the device's NUMA node, all of them or those named;\n"
			       "a line of JSON each. Exit code 0 if each is as the memory model has it.\n",
			       argv[0]);
			return 0;
		case 'l':
			for (table = 0; table < TABLES; table++)
				for (probe = tables[table]; probe->name; probe++)
					printf("%s\n", probe->name);
			return 0;
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
	return run_all(argc - optind, argv + optind);
}
