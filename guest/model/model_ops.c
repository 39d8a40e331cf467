// SPDX-License-Identifier: MIT
/* What dm-model does beside running device programs; see model_run.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model_run.h"

void run_cpu(const struct operation *op)
{
	bool write = op->what == CPU_WRITE;
	size_t i;

	if (!model_allows(&run.model, op->offset, op->length, write))
		return;
	settle(op->offset, op->length, write);
	if (!write) {
		compare(op->offset, op->length, "the CPU reads");
		return;
	}
	for (i = 0; i < op->length; i++)
		run.model.arena[op->offset + i] = run.model.shadow[op->offset + i] =
			op->value >> i % 8 * 8 ^ i;
}

void run_migration(const struct operation *op)
{
	static uint32_t outcomes[MODEL_MAX_PAGES];
	size_t page = op->offset / run.model.page_size, count = op->length / run.model.page_size, i;
	const struct device *device = &run.device[op->device];
	bool to_device = op->what == TO_DEVICE;
	struct devmodel_migrate result;

	if (devmodel_migrate(device->fd, run.model.arena + op->offset, op->length,
			     to_device ? DEVMODEL_TARGET_DEVICE : DEVMODEL_TARGET_SYSTEM, &result,
			     outcomes)) {
		if (device->model == DEVMODEL_MODEL_MIRROR && errno == EOPNOTSUPP)
			return;
		disagree(page, "%s", devmodel_error());
	}
	if (result.moved + result.already + result.failed != count)
		disagree(page, "migration of %zu pages: %llu moved, %llu already, %llu failed", count,
			 result.moved, result.already, result.failed);
	for (i = 0; i < count; i++)
		if (outcomes[i] > DEVMODEL_OUTCOME_BUSY ||
		    (to_device && run.model.kind[page + i] == KIND_HOLE &&
		     outcomes[i] <= DEVMODEL_OUTCOME_ALREADY_THERE))
			disagree(page + i, "migration of a %s page: %s",
				 kind_names[run.model.kind[page + i]],
				 devmodel_outcome_name(outcomes[i]));
	run.pages_moved += result.moved;
}

/* Swap areas are numbered from 0; what migration, private and exclusive pages use is at the end. */
#define FIRST_SPECIAL	16

/* Is a page there, by what /proc says? */
static bool is_present(size_t page)
{
	uint64_t entry = 0;
	off_t at = ((uintptr_t)run.model.arena / run.model.page_size + page) * sizeof(entry);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, sizeof(entry), at) != sizeof(entry))
		disagree(page, "/proc/self/pagemap: %s", strerror(errno));
	close(fd);
	/* A special entry has a swap type that no swap area has: the page is there, for the device. */
	return entry >> 63 || (entry >> 62 & 1 && entry % 32 >= FIRST_SPECIAL);
}

/*
 * The device may reach a page, and a CPU would fault. That is right for one
 * that the device has alone, and for one that NUMA balancing wants to be told
 * of, which is there all the same. It may also have gone as we looked.
 */
static bool is_out_of_reach(const struct device *device, size_t page, uint32_t state)
{
	uint32_t cpu;

	if (state & DEVMODEL_PAGE_ATOMIC || is_present(page))
		return true;
	if (devmodel_snapshot(device->fd, run.model.arena + page * run.model.page_size,
			      run.model.page_size, &cpu, &state))
		disagree(page, "%s", devmodel_error());
	return cpu || !(state & DEVMODEL_PAGE_VALID) || state & DEVMODEL_PAGE_ATOMIC;
}

void run_snapshot(const struct operation *op)
{
	static uint32_t cpus[MODEL_MAX_PAGES], devices[MODEL_MAX_PAGES];
	size_t first = op->offset / run.model.page_size, count = op->length / run.model.page_size, i;
	const uint32_t valid = DEVMODEL_PAGE_VALID, write = DEVMODEL_PAGE_WRITE;
	const struct device *device = &run.device[op->device];

	if (devmodel_snapshot(device->fd, run.model.arena + op->offset, op->length, cpus, devices))
		disagree(first, "%s", devmodel_error());
	for (i = 0; i < count; i++) {
		size_t page = first + i;
		bool here = devmodel_place(cpus[i]) == DEVMODEL_PLACE_HBM;
		bool there = devmodel_place(devices[i]) == DEVMODEL_PLACE_HBM;
		uint32_t may = (page_allows(&run.model, page, false) ? valid : 0) |
			       (page_allows(&run.model, page, true) ? write : 0);

		if ((cpus[i] | devices[i]) & (valid | write) & ~may)
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: more than is allowed",
				 cpus[i], devices[i]);
		/* NUMA balancing makes entries of private pages read-only, which nobody minds. */
		if (cpus[i] & valid && devices[i] & write & ~cpus[i] &&
		    !(here && there && device->model == DEVMODEL_MODEL_PRIVATE))
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: the device may do more",
				 cpus[i], devices[i]);
		if (devices[i] & valid & ~cpus[i] && !is_out_of_reach(device, page, devices[i]))
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: no CPU has it", cpus[i],
				 devices[i]);
		if (devices[i] & cpus[i] & valid && here != there)
			disagree(page, "snapshot: cpu 0x%x, device 0x%x: two places", cpus[i],
				 devices[i]);
	}
}

static bool being_written(size_t page)
{
	unsigned int i;

	for (i = 0; i < run.npending; i++)
		if (op_writes(&run.pending[i].op) &&
		    op_touches(&run.pending[i].op, page * run.model.page_size, run.model.page_size))
			return true;
	return false;
}

/* In a child: private memory is what it was when the child began, and its writes are its own. */
__attribute__((noreturn))
static void be_a_child(const struct operation *op, int told)
{
	size_t page, size = run.model.page_size;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Shared memory is still shared: one word, agreed upon. */
	if (op->result)
		memcpy(run.model.arena + op->offset, &op->value, 8);
	if (write(told, &byte, 1) != 1)
		_exit(2);
	for (page = run.number % 3; page < run.model.pages; page += 3) {
		if (run.model.kind[page] != KIND_PRIVATE && run.model.kind[page] != KIND_FILE_PRIVATE)
			continue;
		if (!page_allows(&run.model, page, false) || being_written(page))
			continue;
		compare(page * size, size, "a child reads");
		if (!page_allows(&run.model, page, true) || page % 2)
			continue;
		memset(run.model.arena + page * size, page, size / 2);
		memset(run.model.shadow + page * size, page, size / 2);
		compare(page * size, size, "a child reads back");
	}
	_exit(0);
}

void reap(void)
{
	int status;

	if (!run.child)
		return;
	waitpid(run.child, &status, 0);
	run.child = 0;
	if (status)
		disagree(0, "a child ended with status 0x%x", status);
}

void run_fork(struct operation *op)
{
	int told[2], tries = 0;
	char byte;

	reap();
	op->offset &= -8UL;
	op->length = 8;
	op->result = (run.model.kind[op->offset / run.model.page_size] == KIND_SHARED ||
		      run.model.kind[op->offset / run.model.page_size] == KIND_FILE_SHARED) &&
		     model_allows(&run.model, op->offset, 8, true);
	if (op->result)
		settle(op->offset, 8, true);
	fflush(stderr);
	if (pipe(told))
		disagree(0, "pipe: %s", strerror(errno));
	/*
	 * The kernel gives up with ENOMEM where it meets a page that a device has
	 * alone and that is locked (copy_pte_range()). Compaction and reclaim lock
	 * pages as they like; see "Exclusive access" in docs/driver.md.
	 */
	while ((run.child = fork()) < 0 && errno == ENOMEM && tries++ < 100)
		usleep(1000);
	if (run.child < 0)
		disagree(0, "fork: %s", strerror(errno));
	if (!run.child)
		be_a_child(op, told[1]);
	close(told[1]);
	if (op->result)
		memcpy(run.model.shadow + op->offset, &op->value, 8);
	if (read(told[0], &byte, 1) != 1)
		disagree(0, "a child died");
	close(told[0]);
}

void run_change(const struct operation *op)
{
	static const enum kind kinds[] = { KIND_PRIVATE, KIND_PRIVATE, KIND_PRIVATE, KIND_SHARED,
					   KIND_FILE_SHARED, KIND_FILE_PRIVATE };
	static const int prots[] = { 0, 1, 1, 3, 3, 3 };
	size_t page = op->offset / run.model.page_size, count = op->length / run.model.page_size;

	/* Programs at work on these pages end first: what they meet is known when they start. */
	settle(op->offset, op->length, true);
	switch (op->what) {
	case MAP:
		model_map(&run.model, page, count, kinds[op->value % 6]);
		break;
	case MAP_HUGE:
		model_map_huge(&run.model, page);
		break;
	case UNMAP:
		model_unmap(&run.model, page, count);
		break;
	case PROTECT:
		if (model_mapped(&run.model, page, count))
			model_protect(&run.model, page, count, prots[op->value % 6]);
		break;
	default:
		if (model_mapped(&run.model, page, count))
			model_discard(&run.model, page, count);
	}
}

void run_advice(const struct operation *op)
{
	if (devmodel_advise(run.device[op->device].fd, run.model.arena + op->offset, op->length, op->value % 2))
		disagree(op->offset / run.model.page_size, "%s", devmodel_error());
}

static void move(const struct operation *op)
{
	size_t page = op->offset / run.model.page_size, from = op->source / run.model.page_size;
	size_t count = op->length / run.model.page_size, i;

	/* What a file's page holds depends on where it is. */
	for (i = 0; i < count; i++)
		if (run.model.kind[from + i] != KIND_PRIVATE)
			return;
	settle(op->offset, op->length, true);
	settle(op->source, op->length, true);
	model_move(&run.model, page, from, count);
}

/* Pages that are the same in all processes, and may be merged, or may not any more. */
static void make_equal(const struct operation *op)
{
	if (!model_allows(&run.model, op->offset, op->length, true))
		return;
	settle(op->offset, op->length, true);
	memset(run.model.arena + op->offset, op->value % 3, op->length);
	memset(run.model.shadow + op->offset, op->value % 3, op->length);
	madvise(run.model.arena + op->offset, op->length,
		op->value & 16 ? MADV_MERGEABLE : MADV_UNMERGEABLE);
}

/* To one of two nodes each; where there is but one, nothing moves. */
static void scatter(const struct operation *op)
{
	size_t size = run.model.page_size, count = op->length / size, i;
	int nodes[32], states[32];
	void *pages[32];

	for (i = 0; i < count && i < 32; i++) {
		pages[i] = run.model.arena + op->offset + i * size;
		nodes[i] = op->value >> i & 1;
	}
	syscall(SYS_move_pages, 0, i, pages, nodes, states, MPOL_MF_MOVE);
}

/* What the kernel may be asked to do with pages, and no byte of them is another afterwards. */
void run_kernel(const struct operation *op)
{
	void *at = run.model.arena + op->offset;

	/* Holes and pages that will not go are none of our business. */
	switch (op->what) {
	case PAGE_OUT:
		madvise(at, op->length, MADV_PAGEOUT);
		break;
	case MAKE_COLD:
		madvise(at, op->length, MADV_COLD);
		break;
	case MAKE_EQUAL:
		make_equal(op);
		break;
	case MOVE:
		move(op);
		break;
	case SCATTER:
		scatter(op);
		break;
	default:
		mlock(at, op->length);
		munlock(at, op->length);
	}
}
