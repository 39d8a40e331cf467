// SPDX-License-Identifier: MIT
/* See ktap.h. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/child.h"
#include "ktap.h"
#include "trace.h"

#define EXIT_SKIP	4
#define DEFAULT_SECONDS	60
/* Exits are cleaned up behind: the fault thread may still hold what the process had. */
#define SETTLE_MS	5000
#define SMALL_HBM	(32 << 20)

void ktap_note(const char *format, ...)
{
	va_list args;

	printf("# ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void ktap_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_FAILURE);
}

void ktap_skip(const char *format, ...)
{
	va_list args;

	printf("# SKIP ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_SKIP);
}

/* Returns a descriptor, or -1: there is no such device. */
static int open_number(int number)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/devmodel%d", number);
	return access(path, F_OK) ? -1 : devmodel_open(path);
}

static const char *missing(enum ktap_needs needs, const struct devmodel_info *info)
{
	enum devmodel_model model = info->model;
	bool hbm = model != DEVMODEL_MODEL_MIRROR;
	bool node = model == DEVMODEL_MODEL_NUMA || model == DEVMODEL_MODEL_CDM;

	switch (needs) {
	case KTAP_HBM:
		return hbm ? NULL : "needs device memory";
	case KTAP_FRAMES:
		return hbm && !node ? NULL : "needs device memory that the driver gives out";
	case KTAP_MIRROR:
		return hbm ? "for models without device memory" : NULL;
	case KTAP_PRIVATE:
		return model == DEVMODEL_MODEL_PRIVATE ? NULL : "for model private";
	case KTAP_COHERENT:
		return model == DEVMODEL_MODEL_COHERENT ? NULL : "for model coherent";
	case KTAP_SMALL:
		return hbm && info->hbm_bytes <= SMALL_HBM ? NULL : "for little device memory";
	case KTAP_PEERS:
		return hbm && !access("/dev/devmodel1", F_OK) ? NULL : "for two devices";
	case KTAP_NODES:
		return node || access("/sys/devices/system/node/node1", F_OK) ? "for two nodes" : NULL;
	default:
		return NULL;
	}
}

/* In the child: run one test and end. */
__attribute__((noreturn))
static void run(const struct ktap_test *test)
{
	int dev;

	dev = devmodel_open(NULL);
	if (dev < 0)
		ktap_fail(__FILE__, __LINE__, "%s", devmodel_error());
	test->run(dev);
	fflush(stdout);
	_exit(EXIT_SUCCESS);
}

static void millisecond(void)
{
	nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

/* Wait for a test to end, up to its limit. Returns the wait status, or -1: it did not, told why. */
static int wait_limited(pid_t child, unsigned int seconds)
{
	struct child_end end = child_end(child, seconds, stdout);

	if (end.late)
		ktap_note("not done in %u s", seconds);
	if (*end.stuck)
		ktap_note("is stuck in the kernel: %s", end.stuck);
	return end.late || *end.stuck ? -1 : end.status;
}

/* What others than this process hold now, on all devices. */
struct held {
	uint64_t hbm_bytes;
	uint64_t mirrors;
	uint64_t page_table_pages;
};

static bool look(struct held *held)
{
	struct devmodel_stats stats;
	int dev, number;

	memset(held, 0, sizeof(*held));
	for (number = 0; (dev = open_number(number)) >= 0; number++) {
		drain_node(dev);
		if (devmodel_stats(dev, &stats)) {
			devmodel_close(dev);
			return false;
		}
		devmodel_close(dev);
		held->hbm_bytes += stats.hbm_bytes_in_use;
		held->mirrors += stats.mirrors - 1;
		held->page_table_pages += stats.page_table_pages - stats.my_page_table_pages;
	}
	return number > 0;
}

/* Is all that was held before a test all that is held after it? */
static bool given_back(const struct held *before)
{
	struct held now = {};
	unsigned int left;

	for (left = SETTLE_MS; left; left--) {
		if (!look(&now)) {
			ktap_note("%s", devmodel_error());
			return false;
		}
		if (!memcmp(&now, before, sizeof(now)))
			return true;
		millisecond();
	}
	ktap_note("not given back: %lld HBM bytes, %lld mirrors, %lld page-table pages",
		  (long long)(now.hbm_bytes - before->hbm_bytes),
		  (long long)(now.mirrors - before->mirrors),
		  (long long)(now.page_table_pages - before->page_table_pages));
	return false;
}

/* Run one test in a child and print its line. Returns whether it was fine. */
static bool run_and_tell(const struct ktap_test *test, size_t number,
			 const struct devmodel_info *info)
{
	unsigned int seconds = test->seconds ? test->seconds : DEFAULT_SECONDS;
	const char *skip = missing(test->needs, info);
	struct held before;
	pid_t child;
	int status;
	bool ok;

	if (skip) {
		printf("ok %zu %s # SKIP %s\n", number, test->name, skip);
		return true;
	}
	ok = look(&before);
	if (!ok)
		ktap_note("%s", devmodel_error());
	child = ok ? child_fork() : -1;
	if (!child)
		run(test);
	status = child > 0 ? wait_limited(child, seconds) : -1;
	if (child > 0)
		trace_forget(child);
	if (status != -1 && WIFSIGNALED(status))
		ktap_note("ended by signal %d (%s)", WTERMSIG(status),
			  strsignal(WTERMSIG(status)));
	if (ok && !given_back(&before))
		status = -1;
	if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
		printf("ok %zu %s # SKIP see above\n", number, test->name);
		return true;
	}
	ok = status == 0;
	printf("%s %zu %s\n", ok ? "ok" : "not ok", number, test->name);
	return ok;
}

/* A whole name means that test alone; anything else those that have it in their name. */
static bool chosen(const struct ktap_test *tests, size_t count, size_t which, const char *text)
{
	size_t i;

	for (i = 0; text && i < count; i++)
		if (!strcmp(tests[i].name, text))
			return i == which;
	return !text || strstr(tests[which].name, text);
}

static bool find_info(struct devmodel_info *info)
{
	int dev = devmodel_open(NULL), ret;

	if (dev < 0)
		return false;
	ret = devmodel_info(dev, info);
	devmodel_close(dev);
	return !ret;
}

int ktap_main(int argc, char **argv, const char *about, const struct ktap_test *tests,
	      size_t count)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "list", no_argument, NULL, 'l' },
		{ "test", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	size_t i, number = 0, failures = 0, planned = 0;
	struct devmodel_info info;
	const char *text = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "hlt:", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			printf("usage: %s [--list] [--test TEXT]\n%s; prints KTAP.\n"
			       "--list names the tests; --test runs the one of that name, or those that have\n"
			       "TEXT in their name.\n",
			       argv[0], about);
			return 0;
		case 'l':
			for (i = 0; i < count; i++)
				printf("%s\n", tests[i].name);
			return 0;
		case 't':
			text = optarg;
			break;
		default:
			return 2;
		}
	}
	for (i = 0; i < count; i++)
		planned += chosen(tests, count, i, text);
	printf("TAP version 13\n");
	if (!find_info(&info)) {
		printf("Bail out! %s\n", devmodel_error());
		return 1;
	}
	printf("1..%zu\n# model %s\n", planned, devmodel_model_name(info.model));
	fflush(stdout);
	for (i = 0; i < count; i++) {
		if (!chosen(tests, count, i, text))
			continue;
		failures += !run_and_tell(&tests[i], ++number, &info);
		fflush(stdout);
	}
	return failures ? 1 : 0;
}
