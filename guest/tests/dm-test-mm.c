// SPDX-License-Identifier: MIT
/* What else the kernel does with memory, done to pages in HBM. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk.h"
#include "row.h"

#define PAGES	8
#define ANSWER	0x1122334455667788ULL

/* Memory in HBM with a pattern in it, which the device has seen. */
static uint64_t *in_hbm(int dev, size_t pages, uint64_t seed)
{
	uint64_t *memory = map_anonymous(pages);

	pattern_write(memory, pages, seed);
	migrate_all(dev, memory, pages, DEVMODEL_TARGET_DEVICE);
	device_reads(dev, memory, pages, seed);
	EXPECT_EQ(pages_in_hbm(dev, memory, pages), pages);
	return memory;
}

/* A child with a mirror and memory in HBM at @memory, which then waits to be looked at. */
static pid_t child_in_hbm(uint64_t **memory, uint64_t seed, int *stop)
{
	int told[2], go[2];
	pid_t child;

	EXPECT(!pipe(told) && !pipe(go));
	child = fork();
	if (!child) {
		int dev = devmodel_open(NULL);
		struct devmodel_wait end;
		char byte;

		close(go[1]);
		EXPECT_OK(dev);
		*memory = in_hbm(dev, PAGES, seed);
		EXPECT_EQ(write(told[1], memory, sizeof(*memory)), sizeof(*memory));
		EXPECT_EQ(read(go[0], &byte, 1), 0);
		/* What others wrote, the device sees. */
		EXPECT_OK(devmodel_run(dev, &end, "sum", *memory + 1, 1));
		_exit(end.result[0] == ANSWER ? 0 : 1);
	}
	close(told[1]);
	EXPECT_EQ(read(told[0], memory, sizeof(*memory)), sizeof(*memory));
	*stop = go[1];
	return child;
}

static void ptraced(int dev)
{
	uint64_t *memory, *expected = map_anonymous(PAGES);
	int status, stop;
	pid_t child = child_in_hbm(&memory, 1, &stop);

	(void)dev;
	pattern_write(expected, PAGES, 1);
	EXPECT(!ptrace(PTRACE_ATTACH, child, NULL, NULL));
	EXPECT_EQ(waitpid(child, &status, 0), child);
	errno = 0;
	EXPECT_EQ(ptrace(PTRACE_PEEKDATA, child, memory + words(2) + 3, NULL), expected[words(2) + 3]);
	EXPECT(!ptrace(PTRACE_POKEDATA, child, memory + 1, (void *)ANSWER));
	EXPECT_EQ(ptrace(PTRACE_PEEKDATA, child, memory + 1, NULL), ANSWER);
	EXPECT_EQ(ptrace(PTRACE_PEEKDATA, child, memory, NULL), expected[0]);
	EXPECT(!errno);
	EXPECT(!ptrace(PTRACE_DETACH, child, NULL, NULL));
	close(stop);
	EXPECT_EQ(wait_child(child), 0);
}

/* Through /proc/PID/mem, and process_vm_readv() and writev(). */
static void by_another_process(int dev)
{
	uint64_t *memory, *copy = map_anonymous(PAGES), answer = ANSWER;
	size_t length = PAGES * page_size();
	int stop, file;
	pid_t child = child_in_hbm(&memory, 2, &stop);
	struct iovec there = { memory, length }, here = { copy, length };
	struct iovec word = { &answer, 8 }, target = { memory + 1, 8 };
	char path[32];

	(void)dev;
	EXPECT_EQ(process_vm_readv(child, &here, 1, &there, 1, 0), length);
	EXPECT_PATTERN(copy, PAGES, 2);
	memset(copy, 0, length);
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	file = open(path, O_RDWR);
	EXPECT(file >= 0);
	EXPECT_EQ(pread(file, copy, length, (uintptr_t)memory), length);
	EXPECT_PATTERN(copy, PAGES, 2);
	EXPECT_EQ(process_vm_writev(child, &word, 1, &target, 1, 0), 8);
	EXPECT_EQ(pread(file, copy, 16, (uintptr_t)memory), 16);
	EXPECT_EQ(copy[1], ANSWER);
	close(stop);
	EXPECT_EQ(wait_child(child), 0);
}

/* The part of a core file that holds an address. */
static void read_core(const char *path, const void *address, void *buffer, size_t length)
{
	int file = open(path, O_RDONLY), i;
	uint64_t at = (uintptr_t)address;
	Elf64_Ehdr header;
	Elf64_Phdr part;

	EXPECT(file >= 0);
	EXPECT_EQ(read(file, &header, sizeof(header)), sizeof(header));
	EXPECT(!memcmp(header.e_ident, ELFMAG, SELFMAG) && header.e_type == ET_CORE);
	for (i = 0; i < header.e_phnum; i++) {
		EXPECT_EQ(pread(file, &part, sizeof(part), header.e_phoff + i * sizeof(part)),
			  sizeof(part));
		if (part.p_type == PT_LOAD && part.p_vaddr <= at &&
		    at + length <= part.p_vaddr + part.p_filesz)
			break;
	}
	EXPECT(i < header.e_phnum);
	EXPECT_EQ(pread(file, buffer, length, part.p_offset + at - part.p_vaddr), length);
	close(file);
}

static void core_dump(int dev)
{
	uint64_t *copy = map_anonymous(PAGES), *memory;
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	int told[2];
	pid_t child;

	(void)dev;
	EXPECT(!pipe(told));
	kernel_set("/proc/sys/kernel/core_pattern", "/tmp/dm-test-core");
	child = fork();
	if (!child) {
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		EXPECT(!setrlimit(RLIMIT_CORE, &all));
		memory = in_hbm(dev, PAGES, 3);
		EXPECT_EQ(write(told[1], &memory, sizeof(memory)), sizeof(memory));
		abort();
	}
	EXPECT_EQ(read(told[0], &memory, sizeof(memory)), sizeof(memory));
	EXPECT_EQ(wait_child(child), 128 + SIGABRT);
	read_core("/tmp/dm-test-core", memory, copy, PAGES * page_size());
	EXPECT_PATTERN(copy, PAGES, 3);
	unlink("/tmp/dm-test-core");
	kernel_set("/proc/sys/kernel/core_pattern", "core");
}

/* Advice that system memory may be reclaimed by means nothing to pages in HBM, or brings them home. */
static void advised(int dev)
{
	static const int advice[] = { MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_WILLNEED };
	struct devmodel_wait end;
	uint64_t *memory;
	size_t i;

	swap_on();
	for (i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		memory = in_hbm(dev, PAGES, i);
		EXPECT(!madvise(memory, PAGES * page_size(), advice[i]));
		if (advice[i] == MADV_FREE)
			/* Given up: old bytes or zeroes, until somebody writes. */
			device_writes(dev, memory, PAGES, i);
		device_reads(dev, memory, PAGES, i);
		EXPECT_PATTERN(memory, PAGES, i);
	}
	memory = in_hbm(dev, PAGES, 9);
	EXPECT(!madvise(memory, PAGES * page_size(), MADV_DONTNEED));
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
	swap_off();
}

/* The child writes to pages that parent and child share in HBM; the parent's are as before. */
static void fork_child_first(int dev)
{
	uint64_t *memory = in_hbm(dev, PAGES, 4);
	pid_t child = fork();

	if (!child) {
		EXPECT_PATTERN(memory, PAGES, 4);
		pattern_write(memory, PAGES, 5);
		EXPECT_PATTERN(memory, PAGES, 5);
		_exit(0);
	}
	EXPECT_EQ(wait_child(child), 0);
	device_reads(dev, memory, PAGES, 4);
	device_writes(dev, memory, PAGES, 6);
	EXPECT_PATTERN(memory, PAGES, 6);
}

/* Both have a mirror of what they share in HBM, and both devices' programs write to it. */
static void fork_both_mirror(int dev)
{
	uint64_t *memory = in_hbm(dev, PAGES, 4);
	pid_t child = fork();

	if (!child) {
		dev = devmodel_open(NULL);
		EXPECT_OK(dev);
		device_reads(dev, memory, PAGES, 4);
		device_writes(dev, memory, PAGES, 7);
		EXPECT_PATTERN(memory, PAGES, 7);
		_exit(0);
	}
	device_writes(dev, memory, PAGES, 8);
	EXPECT_EQ(wait_child(child), 0);
	device_reads(dev, memory, PAGES, 8);
	EXPECT_PATTERN(memory, PAGES, 8);
}

static void direct_io(int dev)
{
	int file = make_file(disk_mount(), PAGES);
	uint64_t *memory = in_hbm(dev, PAGES, 5), *copy = map_anonymous(PAGES);
	size_t length = PAGES * page_size();

	EXPECT(!fcntl(file, F_SETFL, O_DIRECT));
	EXPECT_EQ(pwrite(file, memory, length, 0), length);
	EXPECT_EQ(pread(file, copy, length, 0), length);
	EXPECT_PATTERN(copy, PAGES, 5);
	/* And the disk writes to pages that lie in HBM. */
	pattern_write(copy, PAGES, 6);
	EXPECT_EQ(pwrite(file, copy, length, 0), length);
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	EXPECT_EQ(pread(file, memory, length, 0), length);
	device_reads(dev, memory, PAGES, 6);
	EXPECT_PATTERN(memory, PAGES, 6);
}

/* A long-term pin takes pages out of HBM first, and keeps them out until it ends. */
static void pinned(int dev)
{
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	uint64_t *memory = in_hbm(dev, PAGES, 6);
	struct iovec part = { memory + words(2), 3 * page_size() };
	struct devmodel_migrate done;
	uint32_t outcomes[PAGES];
	uint64_t used = stats_now(dev).hbm_bytes_in_use;
	size_t i;

	if (ring < 0)
		ktap_skip("no io_uring: %s", strerror(errno));
	EXPECT_EQ(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1), 0);
	/* In the private model neighbours come along. */
	EXPECT_EQ(pages_in_hbm(dev, part.iov_base, 3), 0);
	EXPECT_OK(devmodel_migrate(dev, memory, PAGES * page_size(), DEVMODEL_TARGET_DEVICE, &done,
				   outcomes));
	EXPECT_EQ(done.failed, 3);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(outcomes[i] > DEVMODEL_OUTCOME_ALREADY_THERE, i >= 2 && i < 5);
	EXPECT_EQ(outcomes[2], DEVMODEL_OUTCOME_NOT_MIGRATABLE);
	EXPECT_EQ(pages_in_hbm(dev, memory, PAGES), PAGES - 3);
	/* No frame was lost to those that would not go. */
	EXPECT_EQ(stats_now(dev).hbm_bytes_in_use, used - 3 * page_size());
	/* The device works on them where they are. */
	device_reads(dev, memory, PAGES, 6);
	device_writes(dev, memory, PAGES, 7);
	EXPECT_EQ(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	close(ring);
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	device_reads(dev, memory, PAGES, 7);
	EXPECT_PATTERN(memory, PAGES, 7);
}

static void swapped_to_device(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct devmodel_migrate done;
	uint32_t outcomes[PAGES];
	size_t i, moved = 0;

	swap_on();
	pattern_write(memory, PAGES, 8);
	swap_out(memory, PAGES);
	EXPECT_OK(devmodel_migrate(dev, memory, PAGES * page_size(), DEVMODEL_TARGET_DEVICE, &done,
				   outcomes));
	for (i = 0; i < PAGES; i++)
		moved += outcomes[i] == DEVMODEL_OUTCOME_MOVED;
	ktap_note("%zu of %d swapped pages moved", moved, PAGES);
	EXPECT_EQ(done.moved, moved);
	EXPECT_EQ(pages_in_hbm(dev, memory, PAGES), moved);
	device_reads(dev, memory, PAGES, 8);
	/* Once they are in memory they move, and swap's copy of them is not what counts. */
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	device_writes(dev, memory, PAGES, 9);
	EXPECT_PATTERN(memory, PAGES, 9);
	swap_off();
	EXPECT_PATTERN(memory, PAGES, 9);
}

static void zero_page_to_device(int dev)
{
	uint64_t *memory = map_anonymous(PAGES), zeroed;
	struct devmodel_wait end;
	struct row row = { .dev = dev, .memory = memory, .pages = PAGES };

	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, words(PAGES)));
	row_look(&row);
	EXPECT_EQ(devmodel_place(row.cpu[0]), DEVMODEL_PLACE_ZERO_PAGE);
	zeroed = stats_now(dev).pages_zeroed;
	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	/* Nothing was read from the zero page. */
	EXPECT_EQ(stats_now(dev).pages_zeroed, zeroed + PAGES);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, words(PAGES)));
	EXPECT_EQ(end.result[0], 0);
	device_writes(dev, memory, PAGES, 1);
	EXPECT_PATTERN(memory, PAGES, 1);
	EXPECT_OK(devmodel_run(dev, &end, "sum", map_anonymous(1), words(1)));
	EXPECT_EQ(end.result[0], 0);
}

#define GROUP		CONTROL_GROUP("dm-test-mm")
#define CHARGED		2048
/* Processors keep charges of up to 64 pages each for their next need. */
#define SLACK		256

static uint64_t charged(void)
{
	return kernel_get(GROUP "/memory.current", NULL) / page_size();
}

static uint64_t charged_anon(void)
{
	return kernel_get(GROUP "/memory.stat", "anon") / page_size();
}

/* In the group: memory in HBM is the process's, wherever it lies. */
static void __attribute__((noreturn)) be_charged(void)
{
	int dev = devmodel_open(NULL);
	uint64_t *memory = map_anonymous(CHARGED), in_system;

	EXPECT_OK(dev);
	EXPECT(!madvise(memory, CHARGED * page_size(), MADV_NOHUGEPAGE));
	pattern_write(memory, CHARGED, 1);
	in_system = charged();
	EXPECT(charged_anon() >= CHARGED);
	EXPECT(in_system >= CHARGED);
	migrate_all(dev, memory, CHARGED, DEVMODEL_TARGET_DEVICE);
	ktap_note("%d pages: %llu charged (%llu anon) in system memory, %llu (%llu) in HBM", CHARGED,
		  (unsigned long long)in_system, (unsigned long long)CHARGED,
		  (unsigned long long)charged(), (unsigned long long)charged_anon());
	/* One charge a page: the copy's source gave its back. */
	EXPECT(charged() + SLACK >= in_system && charged() <= in_system + SLACK);
	migrate_all(dev, memory, CHARGED, DEVMODEL_TARGET_SYSTEM);
	EXPECT(charged() + SLACK >= in_system && charged() <= in_system + SLACK);
	migrate_all(dev, memory, CHARGED / 2, DEVMODEL_TARGET_DEVICE);
	_exit(0);
}

static void memory_cgroup(int dev)
{
	uint64_t before;
	char text[16];
	pid_t child;
	int go[2];

	(void)dev;
	make_group(GROUP);
	before = charged();
	EXPECT(!pipe(go));
	child = fork();
	if (!child) {
		EXPECT_EQ(read(go[0], text, 1), 1);
		be_charged();
	}
	snprintf(text, sizeof(text), "%d", child);
	kernel_set(GROUP "/cgroup.procs", text);
	EXPECT_EQ(write(go[1], "", 1), 1);
	EXPECT_EQ(wait_child(child), 0);
	ktap_note("%llu pages charged before, %llu after", (unsigned long long)before,
		  (unsigned long long)charged());
	EXPECT(charged() <= before + SLACK);
	EXPECT_EQ(charged_anon(), 0);
	EXPECT(!rmdir(GROUP));
}

/* Where ksmd is at work, pages stay: it reads what it merged, and the kernel would lose others. */
static void merged(int dev)
{
	uint64_t *memory = map_anonymous(3);
	uint32_t outcomes[2];
	struct devmodel_migrate done;

	pattern_write(memory, 1, 3);
	pattern_write(memory + words(1), 1, 3);
	merge_pages(memory, memory + words(1));
	EXPECT_OK(devmodel_migrate(dev, memory, 2 * page_size(), DEVMODEL_TARGET_DEVICE, &done,
				   outcomes));
	EXPECT_EQ(outcomes[0], DEVMODEL_OUTCOME_NOT_MIGRATABLE);
	EXPECT_EQ(outcomes[1], DEVMODEL_OUTCOME_NOT_MIGRATABLE);
	/* It compares another one with what is in its tree. */
	pattern_write(memory + words(2), 1, 3);
	merge_pages(memory + words(2), memory);
	EXPECT(!madvise(memory, 3 * page_size(), MADV_UNMERGEABLE));
	migrate_all(dev, memory, 3, DEVMODEL_TARGET_DEVICE);
	EXPECT_PATTERN(memory, 1, 3);
	EXPECT_PATTERN(memory + words(1), 1, 3);
	EXPECT_PATTERN(memory + words(2), 1, 3);
}

/* Pages that the device is the first to touch lie where mbind() said. */
static void first_touch(int dev)
{
	unsigned long node, count = 4 * PAGES;
	void *pages[4 * PAGES];
	int status[4 * PAGES];
	struct devmodel_wait end;
	unsigned long i;

	for (node = 0; node < 4; node++) {
		/* Twice each, so that no chance will do. */
		unsigned long nodes = 1UL << (node & 1);
		uint64_t *memory = map_anonymous(count);

		EXPECT(!syscall(SYS_mbind, memory, count * page_size(), MPOL_BIND, &nodes,
				8 * sizeof(nodes), 0));
		EXPECT_OK(devmodel_run(dev, &end, "fill", memory, count * page_size() / 8, ANSWER));
		for (i = 0; i < count; i++)
			pages[i] = memory + i * page_size() / 8;
		EXPECT(!syscall(SYS_move_pages, 0, count, pages, NULL, status, 0));
		for (i = 0; i < count; i++)
			EXPECT_EQ(status[i], node & 1);
		EXPECT_EQ(memory[7], ANSWER);
	}
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "ptrace reads and writes pages in HBM", .run = ptraced, .needs = KTAP_HBM },
		{ .name = "other processes read and write pages in HBM", .run = by_another_process,
		  .needs = KTAP_HBM },
		{ .name = "a core dump has the bytes of pages in HBM", .run = core_dump,
		  .needs = KTAP_HBM },
		{ .name = "madvise of pages in HBM", .run = advised, .needs = KTAP_HBM },
		{ .name = "fork: the child writes first, in HBM", .run = fork_child_first,
		  .needs = KTAP_HBM },
		{ .name = "fork: both have mirrors of shared pages in HBM", .run = fork_both_mirror,
		  .needs = KTAP_HBM },
		{ .name = "direct I/O from and to pages in HBM", .run = direct_io, .needs = KTAP_HBM },
		{ .name = "a long-term pin moves pages out of HBM", .run = pinned, .needs = KTAP_HBM },
		{ .name = "swapped pages to HBM", .run = swapped_to_device, .needs = KTAP_HBM },
		{ .name = "merged pages stay in system memory", .run = merged, .needs = KTAP_HBM },
		{ .name = "the zero page to HBM", .run = zero_page_to_device, .needs = KTAP_HBM },
		{ .name = "the device's first touch follows mbind", .run = first_touch,
		  .needs = KTAP_NODES },
		{ .name = "memory cgroups charge pages in HBM", .run = memory_cgroup,
		  .needs = KTAP_HBM },
	};

	return ktap_main(argc, argv, "The kernel's memory management and pages in HBM", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
