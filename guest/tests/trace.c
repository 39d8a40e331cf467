// SPDX-License-Identifier: MIT
/* See trace.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ktap.h"
#include "row.h"
#include "trace.h"

#define TRACING		"/sys/kernel/tracing"
#define INSTANCES	TRACING "/instances"

/* The process that began; its children look into the same instance. */
static pid_t owner;

static void instance_path(char *path, size_t size, pid_t pid, const char *file)
{
	snprintf(path, size, INSTANCES "/dm-test-%d/%s", pid, file);
}

static void put(const char *file, const char *text)
{
	char path[128];
	int fd;

	instance_path(path, sizeof(path), owner, file);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	close(fd);
}

void trace_clear(void)
{
	char path[128];
	int fd;

	instance_path(path, sizeof(path), owner, "trace");
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	close(fd);
}

static void begin(void)
{
	char path[128];

	owner = getpid();
	/*
	 * Names of processes are not wanted, and for their sake the kernel would patch its
	 * scheduler while it runs, which TCG does not survive every time. A new instance takes
	 * the option from here.
	 */
	kernel_set(TRACING "/options/record-cmd", "0");
	instance_path(path, sizeof(path), owner, "");
	if (mkdir(path, 0700) && errno != EEXIST)
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	put("events/devmodel/enable", "0");
	trace_clear();
}

void trace_begin(void)
{
	begin();
	put("events/devmodel/enable", "1");
}

void trace_begin_lifetimes(void)
{
	begin();
	put("events/devmodel/devmodel_register/enable", "1");
	put("events/devmodel/devmodel_release/enable", "1");
}

void trace_forget(pid_t pid)
{
	char path[128];

	instance_path(path, sizeof(path), pid, "");
	rmdir(path);
}

struct line {
	char *text;	/* from the event's name on */
	size_t size;
	FILE *file;
};

static void lines_open(struct line *line)
{
	char path[128];

	instance_path(path, sizeof(path), owner, "trace");
	*line = (struct line) { .file = fopen(path, "r") };
	if (!line->file)
		ktap_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
}

/* The next line of an event of ours; its name and what it says. False at the end. */
static bool lines_next(struct line *line, const char **name, const char **fields)
{
	while (getline(&line->text, &line->size, line->file) > 0) {
		char *begin = strstr(line->text, ": devmodel_"), *colon;

		if (line->text[0] == '#' || !begin)
			continue;
		begin += 2;
		colon = strchr(begin, ':');
		if (!colon)
			continue;
		*colon = '\0';
		colon[strcspn(colon + 1, "\n") + 1] = '\0';
		*name = begin;
		*fields = colon + 1;
		return true;
	}
	free(line->text);
	fclose(line->file);
	return false;
}

/* How a mirror is named in the trace: device and context. */
static void mirror_of(int dev, int *device, unsigned int *context)
{
	struct devmodel_info info;
	char link[32], path[64] = "";

	EXPECT_OK(devmodel_info(dev, &info));
	*context = info.context;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dev);
	EXPECT(readlink(link, path, sizeof(path) - 1) > 0);
	EXPECT_EQ(sscanf(path, "/dev/devmodel%d", device), 1);
}

static bool touches(uint64_t start, uint64_t end, const void *address, size_t length)
{
	uint64_t begin = (uintptr_t)address;

	return start < begin + length && begin < end;
}

size_t trace_updates(int dev, const void *address, size_t length, struct trace_update *found,
		     size_t room)
{
	const char *name, *fields;
	unsigned int context, ctx;
	struct line line;
	int device, id;
	size_t count = 0;

	mirror_of(dev, &device, &context);
	lines_open(&line);
	while (lines_next(&line, &name, &fields)) {
		struct trace_update update;
		unsigned long long start, end, mask;

		if (strcmp(name, "devmodel_update"))
			continue;
		if (sscanf(fields, " device=%d ctx=%u event=%23s start=%llx end=%llx pte_mask=%llx valid=%lu>%lu writable=%lu>%lu",
			   &id, &ctx, update.event, &start, &end, &mask, &update.valid_before,
			   &update.valid_after, &update.writable_before,
			   &update.writable_after) != 10)
			ktap_fail(__FILE__, __LINE__, "cannot read the trace: %s", fields);
		if (id != device || ctx != context || !touches(start, end, address, length))
			continue;
		update.start = start;
		update.end = end;
		update.pte_mask = mask;
		if (count < room)
			found[count] = update;
		count++;
	}
	return count;
}

size_t trace_invalidates(int dev, const void *address, size_t length)
{
	const char *name, *fields;
	unsigned int context, ctx;
	struct line line;
	int device, id, ret;
	size_t count = 0;

	mirror_of(dev, &device, &context);
	lines_open(&line);
	while (lines_next(&line, &name, &fields)) {
		unsigned long long start, end;

		if (strcmp(name, "devmodel_invalidate"))
			continue;
		if (sscanf(fields, " device=%d ctx=%u start=%llx end=%llx ret=%d", &id, &ctx,
			   &start, &end, &ret) != 5)
			ktap_fail(__FILE__, __LINE__, "cannot read the trace: %s", fields);
		count += id == device && ctx == context && !ret &&
			 touches(start, end, address, length);
	}
	return count;
}

size_t trace_count_with(const char *event, const char *text)
{
	const char *name, *fields;
	struct line line;
	size_t count = 0;

	lines_open(&line);
	while (lines_next(&line, &name, &fields))
		count += !strcmp(name, event) && strstr(fields, text);
	return count;
}

size_t trace_count(const char *event)
{
	return trace_count_with(event, "");
}

void trace_note(void)
{
	const char *name, *fields;
	struct line line;

	lines_open(&line);
	while (lines_next(&line, &name, &fields))
		ktap_note("%s:%s", name, fields);
}
