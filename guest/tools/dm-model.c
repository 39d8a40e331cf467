// SPDX-License-Identifier: MIT
/*
 * Random operations of CPU and device over a process's memory, compared with a
 * plain model of it. Device programs run side by side with all operations that
 * do not touch the same bytes, so pages move and change under them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/libdevmodel.h"
#include "model.h"

#define WAIT_MS		60000
#define MAX_PENDING	16
#define SCRATCH		(64 << 10)
#define HISTORY		4096
#define TAIL		24

enum what {
	CPU_READ, CPU_WRITE, DEVICE_READ, DEVICE_FILL, DEVICE_COPY, DEVICE_ADD, DEVICE_SUM,
	TO_DEVICE, TO_SYSTEM, ADVISE, PROTECT, UNMAP, MAP, DISCARD, SNAPSHOT, FORK, WHATS,
};

static const struct {
	const char *name;
	unsigned int weight;	/* of 1000 */
} whats[WHATS] = {
	[CPU_READ] = { "cpu read", 320 },
	[CPU_WRITE] = { "cpu write", 240 },
	[DEVICE_READ] = { "device read", 100 },
	[DEVICE_FILL] = { "device fill", 80 },
	[DEVICE_COPY] = { "device copy", 50 },
	[DEVICE_ADD] = { "device add", 30 },
	[DEVICE_SUM] = { "device sum", 25 },
	[TO_DEVICE] = { "migrate to device", 40 },
	[TO_SYSTEM] = { "migrate to system", 20 },
	[ADVISE] = { "advise", 15 },
	[PROTECT] = { "mprotect", 30 },
	[UNMAP] = { "munmap", 8 },
	[MAP] = { "mmap", 20 },
	[DISCARD] = { "discard", 10 },
	[SNAPSHOT] = { "snapshot", 9 },
	[FORK] = { "fork", 3 },
};

/* One operation: offsets and lengths are bytes of the arena. */
struct operation {
	uint64_t number;
	enum what what;
	size_t offset, length;
	size_t source;		/* DEVICE_COPY */
	uint64_t value;		/* fill and add: what; others: see there */
	uint64_t result;	/* what the device must answer */
	bool refused;		/* the device must fault */
};

struct pending {
	struct operation op;
	int64_t handle;
	uint8_t *scratch;	/* where a DEVICE_READ puts what it read */
};

static struct model model;
static struct random randoms;
static struct operation history[HISTORY];
static struct pending pending[MAX_PENDING];
static unsigned int npending;
static uint64_t number, done[WHATS], refusals, pages_moved;
static enum devmodel_model memory_model;
static bool verbose;
static pid_t child;
static int dev;

static void print(const struct operation *op)
{
	size_t size = model.page_size;

	fprintf(stderr, "  %8llu %-17s page %zu + 0x%zx, %zu bytes",
		(unsigned long long)op->number, whats[op->what].name, op->offset / size,
		op->offset % size, op->length);
	if (op->what == DEVICE_COPY)
		fprintf(stderr, ", from page %zu + 0x%zx", op->source / size, op->source % size);
	fprintf(stderr, ", value 0x%llx%s\n", (unsigned long long)op->value,
		op->refused ? ", to be refused" : "");
}

static bool touches(const struct operation *op, size_t offset, size_t length)
{
	return op->offset < offset + length && offset < op->offset + op->length;
}

static void print_history(size_t page)
{
	uint64_t n, first = number > HISTORY ? number - HISTORY : 1, shown = 0;
	size_t size = model.page_size;

	fprintf(stderr, "page %zu: %s, prot %d; the last operations on it, latest first:\n", page,
		kind_names[model.kind[page]], model.prot[page]);
	for (n = number; n >= first && n && shown < TAIL; n--) {
		const struct operation *op = &history[n % HISTORY];

		if (touches(op, page * size, size)) {
			print(op);
			shown++;
		}
	}
	fprintf(stderr, "the last operations of all:\n");
	for (n = number; n >= first && n && n + TAIL > number; n--)
		print(&history[n % HISTORY]);
}

__attribute__((noreturn, format(printf, 2, 3)))
static void disagree(size_t page, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "dm-model: operation %llu: ", (unsigned long long)number);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	print_history(page);
	exit(1);
}

static void compare(size_t offset, size_t length, const char *who)
{
	long wrong = model_wrong(&model, offset, length);

	if (wrong >= 0)
		disagree(wrong / model.page_size, "%s: byte 0x%zx of page %zu is 0x%02x, not 0x%02x",
			 who, wrong % model.page_size, wrong / model.page_size,
			 model.arena[wrong], model.shadow[wrong]);
}

/* --- device programs */

static int64_t launch(const struct pending *p)
{
	const struct operation *op = &p->op;
	uint8_t *at = model.arena + op->offset;

	switch (op->what) {
	case DEVICE_READ:
		return devmodel_launch(dev, "copy", p->scratch, at, op->length);
	case DEVICE_FILL:
		return devmodel_launch(dev, "fill", at, op->length / 8, op->value);
	case DEVICE_COPY:
		return devmodel_launch(dev, "copy", at, model.arena + op->source, op->length);
	case DEVICE_ADD:
		return devmodel_launch(dev, "atomic_add", at, 3, op->value);
	default:
		return devmodel_launch(dev, "sum", at, op->length / 8);
	}
}

/* A copy of @length bytes in which they are what @op makes of them, page by page where it may. */
static void apply(const struct operation *op, uint8_t *bytes)
{
	size_t i;

	for (i = 0; i < op->length; i += 8) {
		uint64_t word;

		switch (op->what) {
		case DEVICE_FILL:
			memcpy(bytes + i, &op->value, 8);
			break;
		case DEVICE_ADD:
			memcpy(&word, bytes + i, 8);
			word += 3 * op->value;
			memcpy(bytes + i, &word, 8);
			break;
		default:
			break;
		}
	}
	if (op->what == DEVICE_COPY)
		memcpy(bytes, model.shadow + op->source, op->length);
}

/* A refused program may have done a part: each byte is as before or as it would have been. */
static void accept_part(const struct operation *op)
{
	uint8_t *wanted = malloc(op->length);
	size_t i;

	if (op->what == DEVICE_READ || op->what == DEVICE_SUM || !wanted) {
		free(wanted);
		return;
	}
	memcpy(wanted, model.shadow + op->offset, op->length);
	apply(op, wanted);
	for (i = 0; i < op->length; i++) {
		size_t at = op->offset + i, page = at / model.page_size;
		bool may = page_allows(&model, page, true) &&
			   (op->what != DEVICE_COPY ||
			    page_allows(&model, (op->source + i) / model.page_size, false));

		if (!page_allows(&model, page, false))
			continue;
		if (model.arena[at] != model.shadow[at] && !(may && model.arena[at] == wanted[i]))
			disagree(page, "a refused program wrote 0x%02x to byte 0x%zx of page %zu",
				 model.arena[at], at % model.page_size, page);
		model.shadow[at] = model.arena[at];
	}
	free(wanted);
}

static void check_refusal(const struct operation *op, const struct devmodel_wait *end)
{
	size_t page = op->offset / model.page_size, at = end->fault_address - (uintptr_t)model.arena;
	bool writes = op->what != DEVICE_READ && op->what != DEVICE_SUM;
	bool write = end->fault_access == DEVMODEL_ACCESS_WRITE;
	size_t from = op->what == DEVICE_COPY && !write ? op->source : op->offset;

	refusals++;
	if (end->status != DEVMODEL_STATUS_FAULT)
		disagree(page, "the program ended with %s, not with FAULT",
			 devmodel_status_name(end->status));
	if (write && !writes)
		disagree(page, "a program that only reads got a write fault");
	if (at / model.page_size < from / model.page_size ||
	    at / model.page_size > (from + op->length - 1) / model.page_size)
		disagree(page, "fault at page %zu, where the program has nothing to do",
			 at / model.page_size);
	if (page_allows(&model, at / model.page_size, write))
		disagree(at / model.page_size, "%s fault at page %zu, which allows it",
			 write ? "write" : "read", at / model.page_size);
	accept_part(op);
}

static void finish(struct pending *p)
{
	const struct operation *op = &p->op;
	size_t page = op->offset / model.page_size;
	struct devmodel_wait end;

	if (devmodel_wait(dev, p->handle, WAIT_MS, &end))
		disagree(page, "%s (operation %llu)", devmodel_error(),
			 (unsigned long long)op->number);
	if (op->refused) {
		check_refusal(op, &end);
		return;
	}
	if (end.status != DEVMODEL_STATUS_OK)
		disagree(page, "operation %llu ended with %s at page %zd",
			 (unsigned long long)op->number, devmodel_status_name(end.status),
			 (ssize_t)(end.fault_address - (uintptr_t)model.arena) /
			 (ssize_t)model.page_size);
	if (end.result[0] != op->result)
		disagree(page, "operation %llu: result 0x%llx, not 0x%llx",
			 (unsigned long long)op->number, (unsigned long long)end.result[0],
			 (unsigned long long)op->result);
	if (op->what == DEVICE_READ && memcmp(p->scratch, model.shadow + op->offset, op->length))
		disagree(page, "the device read wrong bytes (operation %llu)",
			 (unsigned long long)op->number);
}

static void finish_all(void)
{
	unsigned int i;

	for (i = 0; i < npending; i++)
		finish(&pending[i]);
	npending = 0;
}

/* Wait for the programs if one of them uses these bytes in a way that excludes ours. */
static void settle(size_t offset, size_t length, bool write)
{
	unsigned int i;

	for (i = 0; i < npending; i++) {
		const struct operation *op = &pending[i].op;
		bool writes = op->what != DEVICE_READ && op->what != DEVICE_SUM;
		bool source = op->what == DEVICE_COPY && op->source < offset + length &&
			      offset < op->source + op->length;

		if ((touches(op, offset, length) && (write || writes)) || (source && write)) {
			finish_all();
			return;
		}
	}
}

static uint64_t expected(const struct operation *op)
{
	uint64_t sum = 0, word;
	size_t i;

	switch (op->what) {
	case DEVICE_FILL:
		return op->length / 8;
	case DEVICE_ADD:
		memcpy(&word, model.shadow + op->offset, 8);
		return word + 3 * op->value;
	case DEVICE_SUM:
		for (i = 0; i < op->length; i += 8) {
			memcpy(&word, model.shadow + op->offset + i, 8);
			sum += word;
		}
		return sum;
	default:
		return op->length;
	}
}

static void device(const struct operation *op)
{
	bool writes = op->what != DEVICE_READ && op->what != DEVICE_SUM;
	struct pending *p;

	settle(op->offset, op->length, writes);
	if (op->what == DEVICE_COPY)
		settle(op->source, op->length, false);
	if (npending == MAX_PENDING)
		finish_all();
	p = &pending[npending];
	p->op = *op;
	p->op.refused = !model_allows(&model, op->offset, op->length, writes) ||
		(op->what == DEVICE_COPY && !model_allows(&model, op->source, op->length, false));
	history[number % HISTORY].refused = p->op.refused;
	if (!p->op.refused) {
		p->op.result = expected(op);
		apply(op, model.shadow + op->offset);
	}
	p->handle = launch(p);
	if (p->handle < 0 && errno == EAGAIN) {
		finish_all();
		pending[0] = *p;
		p = &pending[0];
		p->handle = launch(p);
	}
	if (p->handle < 0)
		disagree(op->offset / model.page_size, "%s", devmodel_error());
	npending++;
	/* What is refused must be seen before the model goes on from it. */
	if (p->op.refused)
		finish_all();
}

/* --- the others */

static void cpu(const struct operation *op)
{
	bool write = op->what == CPU_WRITE;
	size_t i;

	if (!model_allows(&model, op->offset, op->length, write))
		return;
	settle(op->offset, op->length, write);
	if (!write) {
		compare(op->offset, op->length, "the CPU reads");
		return;
	}
	for (i = 0; i < op->length; i++)
		model.arena[op->offset + i] = model.shadow[op->offset + i] =
			op->value >> i % 8 * 8 ^ i;
}

static void migrate(const struct operation *op)
{
	static uint32_t outcomes[MODEL_MAX_PAGES];
	size_t page = op->offset / model.page_size, count = op->length / model.page_size, i;
	bool to_device = op->what == TO_DEVICE;
	struct devmodel_migrate result;

	if (devmodel_migrate(dev, model.arena + op->offset, op->length,
			     to_device ? DEVMODEL_TARGET_DEVICE : DEVMODEL_TARGET_SYSTEM, &result,
			     outcomes)) {
		if (memory_model == DEVMODEL_MODEL_MIRROR && errno == EOPNOTSUPP)
			return;
		disagree(page, "%s", devmodel_error());
	}
	if (result.moved + result.already + result.failed != count)
		disagree(page, "migration of %zu pages: %llu moved, %llu already, %llu failed", count,
			 result.moved, result.already, result.failed);
	for (i = 0; i < count; i++)
		if (outcomes[i] > DEVMODEL_OUTCOME_BUSY ||
		    (to_device && model.kind[page + i] == KIND_HOLE &&
		     outcomes[i] <= DEVMODEL_OUTCOME_ALREADY_THERE))
			disagree(page + i, "migration of a %s page: %s",
				 kind_names[model.kind[page + i]],
				 devmodel_outcome_name(outcomes[i]));
	pages_moved += result.moved;
}

static void snapshot(const struct operation *op)
{
	static uint32_t cpus[MODEL_MAX_PAGES], devices[MODEL_MAX_PAGES];
	size_t first = op->offset / model.page_size, count = op->length / model.page_size, i;
	const uint32_t valid = DEVMODEL_PAGE_VALID, write = DEVMODEL_PAGE_WRITE;

	if (devmodel_snapshot(dev, model.arena + op->offset, op->length, cpus, devices))
		disagree(first, "%s", devmodel_error());
	for (i = 0; i < count; i++) {
		size_t page = first + i;
		bool here = devmodel_place(cpus[i]) == DEVMODEL_PLACE_HBM;
		bool there = devmodel_place(devices[i]) == DEVMODEL_PLACE_HBM;
		uint32_t may = (page_allows(&model, page, false) ? valid : 0) |
			       (page_allows(&model, page, true) ? write : 0);

		if ((cpus[i] | devices[i]) & (valid | write) & ~may)
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: more than is allowed",
				 cpus[i], devices[i]);
		if (devices[i] & (valid | write) & ~cpus[i])
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: the device may do more",
				 cpus[i], devices[i]);
		if (devices[i] & valid && here != there)
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: two places", cpus[i],
				 devices[i]);
	}
}

static bool being_written(size_t page)
{
	unsigned int i;

	for (i = 0; i < npending; i++)
		if (pending[i].op.what != DEVICE_READ && pending[i].op.what != DEVICE_SUM &&
		    touches(&pending[i].op, page * model.page_size, model.page_size))
			return true;
	return false;
}

/* In a child: private memory is what it was when the child began, and its writes are its own. */
__attribute__((noreturn))
static void be_a_child(const struct operation *op, int told)
{
	size_t page, size = model.page_size;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Shared memory is still shared: one word, agreed upon. */
	if (op->result)
		memcpy(model.arena + op->offset, &op->value, 8);
	if (write(told, &byte, 1) != 1)
		_exit(2);
	for (page = number % 3; page < model.pages; page += 3) {
		if (model.kind[page] != KIND_PRIVATE && model.kind[page] != KIND_FILE_PRIVATE)
			continue;
		if (!page_allows(&model, page, false) || being_written(page))
			continue;
		compare(page * size, size, "a child reads");
		if (!page_allows(&model, page, true) || page % 2)
			continue;
		memset(model.arena + page * size, page, size / 2);
		memset(model.shadow + page * size, page, size / 2);
		compare(page * size, size, "a child reads back");
	}
	_exit(0);
}

static void reap(void)
{
	int status;

	if (!child)
		return;
	waitpid(child, &status, 0);
	child = 0;
	if (status)
		disagree(0, "a child ended with status 0x%x", status);
}

static void fork_a_child(struct operation *op)
{
	int told[2];
	char byte;

	reap();
	op->offset &= -8UL;
	op->length = 8;
	op->result = (model.kind[op->offset / model.page_size] == KIND_SHARED ||
		      model.kind[op->offset / model.page_size] == KIND_FILE_SHARED) &&
		     model_allows(&model, op->offset, 8, true);
	if (op->result)
		settle(op->offset, 8, true);
	fflush(stderr);
	if (pipe(told))
		disagree(0, "pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		disagree(0, "fork: %s", strerror(errno));
	if (!child)
		be_a_child(op, told[1]);
	close(told[1]);
	if (op->result)
		memcpy(model.shadow + op->offset, &op->value, 8);
	if (read(told[0], &byte, 1) != 1)
		disagree(0, "a child died");
	close(told[0]);
}

static void change(const struct operation *op)
{
	static const enum kind kinds[] = { KIND_PRIVATE, KIND_PRIVATE, KIND_PRIVATE, KIND_SHARED,
					   KIND_FILE_SHARED, KIND_FILE_PRIVATE };
	static const int prots[] = { 0, 1, 1, 3, 3, 3 };
	size_t page = op->offset / model.page_size, count = op->length / model.page_size;

	/* Programs at work on these pages end first: what they meet is known when they start. */
	settle(op->offset, op->length, true);
	switch (op->what) {
	case MAP:
		model_map(&model, page, count, kinds[op->value % 6]);
		break;
	case UNMAP:
		model_unmap(&model, page, count);
		break;
	case PROTECT:
		if (model_mapped(&model, page, count))
			model_protect(&model, page, count, prots[op->value % 6]);
		break;
	default:
		if (model_mapped(&model, page, count))
			model_discard(&model, page, count);
	}
}

static void advise(const struct operation *op)
{
	if (devmodel_advise(dev, model.arena + op->offset, op->length, op->value % 2))
		disagree(op->offset / model.page_size, "%s", devmodel_error());
}

/* --- choosing */

static enum what choose(void)
{
	unsigned int at = random_below(&randoms, 1000);
	enum what what;

	for (what = 0; at >= whats[what].weight; what++)
		at -= whats[what].weight;
	return what;
}

/* Mostly short, sometimes a few pages. */
static size_t some_bytes(void)
{
	size_t most = random_below(&randoms, 8) ? 128 : 6 * model.page_size;

	return 8 + random_below(&randoms, most);
}

static size_t some_place(size_t length)
{
	return random_below(&randoms, model.pages * model.page_size - length + 1);
}

static void make(struct operation *op)
{
	size_t size = model.page_size, count;

	*op = (struct operation) {
		.number = number, .what = choose(), .value = random_next(&randoms),
	};
	switch (op->what) {
	case CPU_READ ... DEVICE_SUM:
		op->length = op->what == DEVICE_ADD ? 8 : some_bytes();
		if (op->what >= DEVICE_FILL && op->what != DEVICE_COPY)
			op->length &= -8UL;
		op->offset = some_place(op->length);
		if (op->what == DEVICE_ADD)
			op->offset &= -8UL;
		do
			op->source = some_place(op->length);
		while (op->what == DEVICE_COPY && op->source < op->offset + op->length &&
		       op->offset < op->source + op->length);
		break;
	case FORK:
		op->offset = some_place(8);
		break;
	default:
		count = 1 + random_below(&randoms, op->what >= PROTECT && op->what <= DISCARD ? 8 : 32);
		count = count < model.pages ? count : model.pages;
		op->offset = random_below(&randoms, model.pages - count + 1) * size;
		op->length = count * size;
	}
}

static void perform(struct operation *op)
{
	switch (op->what) {
	case CPU_READ:
	case CPU_WRITE:
		cpu(op);
		break;
	case DEVICE_READ ... DEVICE_SUM:
		device(op);
		break;
	case TO_DEVICE:
	case TO_SYSTEM:
		migrate(op);
		break;
	case ADVISE:
		advise(op);
		break;
	case SNAPSHOT:
		snapshot(op);
		break;
	case FORK:
		fork_a_child(op);
		break;
	default:
		change(op);
	}
}

static void compare_all(void)
{
	size_t page;

	finish_all();
	for (page = 0; page < model.pages; page++)
		if (page_allows(&model, page, false))
			compare(page * model.page_size, model.page_size, "the CPU reads");
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void run(uint64_t operations)
{
	uint64_t part = operations / 10 ? operations / 10 : 1;
	double begin = now();

	while (number < operations) {
		struct operation *op = &history[++number % HISTORY];

		make(op);
		if (verbose)
			print(op);
		perform(op);
		done[op->what]++;
		if (number % part == 0) {
			compare_all();
			fprintf(stderr, "dm-model: %llu of %llu, %.1f s\n", (unsigned long long)number,
				(unsigned long long)operations, now() - begin);
		}
	}
	compare_all();
	reap();
}

static void report(uint64_t seed, double seconds)
{
	enum what what;

	printf("dm-model: %llu operations agree: model %s, seed %llu, %.1f s\n",
	       (unsigned long long)number, devmodel_model_name(memory_model),
	       (unsigned long long)seed, seconds);
	for (what = 0; what < WHATS; what++)
		printf("  %-18s %llu\n", whats[what].name, (unsigned long long)done[what]);
	printf("  %-18s %llu\n  %-18s %llu\n", "refused rightly", (unsigned long long)refusals,
	       "pages moved", (unsigned long long)pages_moved);
}

static uint64_t number_of(const char *text)
{
	char *rest;
	uint64_t value = strtoull(text, &rest, 0);

	if (*rest || rest == text) {
		fprintf(stderr, "dm-model: '%s' is not a number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "ops", required_argument, NULL, 'o' },
		{ "pages", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t operations = 100000, pages = 512, seed = time(NULL);
	struct devmodel_info info;
	unsigned int i;
	double begin;
	int option;

	while ((option = getopt_long(argc, argv, "ho:p:s:v", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			operations = number_of(optarg);
			break;
		case 'p':
			pages = number_of(optarg);
			break;
		case 's':
			seed = number_of(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			printf("usage: dm-model [--ops N] [--seed N] [--pages N] [--verbose]\n"
			       "Random operations of CPU and device over a process's memory, compared with a\n"
			       "plain model. The same seed gives the same operations. Exit code 1: they\n"
			       "disagree; the operations that led there are on stderr.\n");
			return option == 'h' ? 0 : 2;
		}
	}
	if (pages < 16 || pages > MODEL_MAX_PAGES) {
		fprintf(stderr, "dm-model: use 16 to %d pages\n", MODEL_MAX_PAGES);
		return 2;
	}
	dev = devmodel_open(NULL);
	if (dev < 0 || devmodel_info(dev, &info)) {
		fprintf(stderr, "dm-model: %s\n", devmodel_error());
		return 2;
	}
	memory_model = info.model;
	randoms.state = seed;
	model_init(&model, pages);
	for (i = 0; i < MAX_PENDING; i++)
		pending[i].scratch = aligned_alloc(model.page_size, SCRATCH);
	for (i = 0; i < pages; i += 16)
		model_map(&model, i, pages - i < 16 ? pages - i : 16, KIND_PRIVATE + i / 16 % 4);
	fprintf(stderr, "dm-model: seed %llu, model %s, %llu pages\n", (unsigned long long)seed,
		devmodel_model_name(memory_model), (unsigned long long)pages);
	begin = now();
	run(operations);
	report(seed, now() - begin);
	return 0;
}
