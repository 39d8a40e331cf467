// SPDX-License-Identifier: MIT
/*
 * Device programs of dm-model; see model_run.h. They run side by side with all
 * operations that do not touch the same bytes. What one must answer, and what
 * memory must be after it, is settled when it starts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "model_run.h"

#define WAIT_MS		60000

static int64_t launch(const struct pending *p)
{
	const struct operation *op = &p->op;
	uint8_t *at = run.model.arena + op->offset;
	int fd = run.device[op->device].fd;

	switch (op->what) {
	case DEVICE_READ:
		return devmodel_launch(fd, "copy", p->scratch, at, op->length);
	case DEVICE_FILL:
		return devmodel_launch(fd, "fill", at, op->length / 8, op->value);
	case DEVICE_COPY:
		return devmodel_launch(fd, "copy", at, run.model.arena + op->source, op->length);
	case DEVICE_ADD:
		return devmodel_launch(fd, "atomic_add", at, 3, op->value);
	default:
		return devmodel_launch(fd, "sum", at, op->length / 8);
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
		memcpy(bytes, run.model.shadow + op->source, op->length);
}

/* A refused program may have done a part: each byte is as before or as it would have been. */
static void accept_part(const struct operation *op)
{
	uint8_t *wanted = malloc(op->length);
	size_t i;

	/* An atomic is done or not. */
	if (!op_writes(op) || op->what == DEVICE_ADD || !wanted) {
		free(wanted);
		return;
	}
	memcpy(wanted, run.model.shadow + op->offset, op->length);
	apply(op, wanted);
	for (i = 0; i < op->length; i++) {
		size_t at = op->offset + i, page = at / run.model.page_size;
		bool may = page_allows(&run.model, page, true) &&
			   (op->what != DEVICE_COPY ||
			    page_allows(&run.model, (op->source + i) / run.model.page_size, false));

		if (!page_allows(&run.model, page, false))
			continue;
		if (run.model.arena[at] != run.model.shadow[at] && !(may && run.model.arena[at] == wanted[i]))
			disagree(page, "a refused program wrote 0x%02x to byte 0x%zx of page %zu",
				 run.model.arena[at], at % run.model.page_size, page);
		run.model.shadow[at] = run.model.arena[at];
	}
	free(wanted);
}

static void check_refusal(const struct operation *op, const struct devmodel_wait *end)
{
	size_t page = op->offset / run.model.page_size, at = end->fault_address - (uintptr_t)run.model.arena;
	bool writes = op_writes(op);
	bool atomic = end->fault_access == DEVMODEL_ACCESS_ATOMIC;
	bool write = end->fault_access == DEVMODEL_ACCESS_WRITE || atomic;
	size_t from = op->what == DEVICE_COPY && !write ? op->source : op->offset;

	run.refusals++;
	if (end->status != DEVMODEL_STATUS_FAULT)
		disagree(page, "the program ended with %s, not with FAULT",
			 devmodel_status_name(end->status));
	if (write && !writes)
		disagree(page, "a program that only reads got a write fault");
	if (atomic != (op->what == DEVICE_ADD))
		disagree(page, "%s got %s fault", what_names[op->what],
			 atomic ? "an atomic" : "a plain");
	if (at / run.model.page_size < from / run.model.page_size ||
	    at / run.model.page_size > (from + op->length - 1) / run.model.page_size)
		disagree(page, "fault at page %zu, where the program has nothing to do",
			 at / run.model.page_size);
	if (atomic ? op->refused && page_excludes(&run.model, at / run.model.page_size) :
		     page_allows(&run.model, at / run.model.page_size, write))
		disagree(at / run.model.page_size, "%s fault at page %zu, which allows it",
			 atomic ? "atomic" : write ? "write" : "read", at / run.model.page_size);
	accept_part(op);
}

static void finish(struct pending *p)
{
	const struct operation *op = &p->op;
	size_t page = op->offset / run.model.page_size;
	struct devmodel_wait end;

	if (devmodel_wait(run.device[op->device].fd, p->handle, WAIT_MS, &end))
		disagree(page, "%s (operation %llu)", devmodel_error(),
			 (unsigned long long)op->number);
	if (op->refused || (op->unsure && end.status != DEVMODEL_STATUS_OK)) {
		check_refusal(op, &end);
		return;
	}
	if (op->unsure)
		apply(op, run.model.shadow + op->offset);
	if (end.status != DEVMODEL_STATUS_OK)
		disagree(page, "operation %llu ended with %s at page %zd",
			 (unsigned long long)op->number, devmodel_status_name(end.status),
			 (ssize_t)(end.fault_address - (uintptr_t)run.model.arena) /
			 (ssize_t)run.model.page_size);
	if (end.result[0] != op->result)
		disagree(page, "operation %llu: result 0x%llx, not 0x%llx",
			 (unsigned long long)op->number, (unsigned long long)end.result[0],
			 (unsigned long long)op->result);
	if (op->what == DEVICE_READ && memcmp(p->scratch, run.model.shadow + op->offset, op->length))
		disagree(page, "the device read wrong bytes (operation %llu)",
			 (unsigned long long)op->number);
}

void finish_all(void)
{
	unsigned int i;

	for (i = 0; i < run.npending; i++)
		finish(&run.pending[i]);
	run.npending = 0;
}

void settle(size_t offset, size_t length, bool write)
{
	unsigned int i;

	for (i = 0; i < run.npending; i++) {
		const struct operation *op = &run.pending[i].op;
		bool writes = op_writes(op);
		bool source = op->what == DEVICE_COPY && op->source < offset + length &&
			      offset < op->source + op->length;

		if ((op_touches(op, offset, length) && (write || writes)) || (source && write)) {
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
		memcpy(&word, run.model.shadow + op->offset, 8);
		return word + 3 * op->value;
	case DEVICE_SUM:
		for (i = 0; i < op->length; i += 8) {
			memcpy(&word, run.model.shadow + op->offset + i, 8);
			sum += word;
		}
		return sum;
	default:
		return op->length;
	}
}

void run_device(const struct operation *op)
{
	bool writes = op_writes(op);
	struct pending *p;

	settle(op->offset, op->length, writes);
	if (op->what == DEVICE_COPY)
		settle(op->source, op->length, false);
	if (run.npending == MAX_PENDING)
		finish_all();
	p = &run.pending[run.npending];
	p->op = *op;
	p->op.refused = !model_allows(&run.model, op->offset, op->length, writes) ||
		(op->what == DEVICE_COPY && !model_allows(&run.model, op->source, op->length, false));
	if (op->what == DEVICE_ADD) {
		size_t page = op->offset / run.model.page_size;

		p->op.refused = !page_excludes(&run.model, page);
		/* Some kernels cannot give a piece of a huge page to a device alone. */
		p->op.unsure = !p->op.refused && run.model.huge[page];
	}
	run.history[run.number % HISTORY].refused = p->op.refused;
	if (!p->op.refused)
		p->op.result = expected(op);
	if (!p->op.refused && !p->op.unsure)
		apply(op, run.model.shadow + op->offset);
	p->handle = launch(p);
	if (p->handle < 0 && errno == EAGAIN) {
		finish_all();
		run.pending[0] = *p;
		p = &run.pending[0];
		p->handle = launch(p);
	}
	if (p->handle < 0)
		disagree(op->offset / run.model.page_size, "%s", devmodel_error());
	run.npending++;
	/* What is refused must be seen before the model goes on from it. */
	if (p->op.refused || p->op.unsure)
		finish_all();
}
