// SPDX-License-Identifier: MIT
/* How a disagreement came about; see model_run.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "model_run.h"

/* Operations shown. */
#define TAIL		24

void print_operation(const struct operation *op)
{
	size_t size = run.model.page_size;

	fprintf(stderr, "  %8llu %-17s page %zu + 0x%zx, %zu bytes",
		(unsigned long long)op->number, what_names[op->what], op->offset / size,
		op->offset % size, op->length);
	if (op->what == DEVICE_COPY || op->what == MOVE)
		fprintf(stderr, ", from page %zu + 0x%zx", op->source / size, op->source % size);
	if (run.ndevices > 1)
		fprintf(stderr, ", device %u", op->device);
	fprintf(stderr, ", value 0x%llx%s\n", (unsigned long long)op->value,
		op->refused ? ", to be refused" : "");
}

static void print_history(size_t page)
{
	uint64_t n, first = run.number > HISTORY ? run.number - HISTORY : 1, shown = 0;
	size_t size = run.model.page_size;

	fprintf(stderr, "page %zu: %s, prot %d; the last operations on it, latest first:\n", page,
		kind_names[run.model.kind[page]], run.model.prot[page]);
	for (n = run.number; n >= first && n && shown < TAIL; n--) {
		const struct operation *op = &run.history[n % HISTORY];

		if (op_touches(op, page * size, size)) {
			print_operation(op);
			shown++;
		}
	}
	fprintf(stderr, "the last operations of all:\n");
	for (n = run.number; n >= first && n && n + TAIL > run.number; n--)
		print_operation(&run.history[n % HISTORY]);
}

void disagree(size_t page, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "dm-model: process %u, operation %llu: ", run.process,
		(unsigned long long)run.number);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	print_history(page);
	exit(1);
}

void compare(size_t offset, size_t length, const char *who)
{
	long wrong = model_wrong(&run.model, offset, length);

	if (wrong >= 0)
		disagree(wrong / run.model.page_size, "%s: byte 0x%zx of page %zu is 0x%02x, not 0x%02x",
			 who, wrong % run.model.page_size, wrong / run.model.page_size,
			 run.model.arena[wrong], run.model.shadow[wrong]);
}
