// SPDX-License-Identifier: MIT
/* The event table: NONE, and the events that take the right to write, with what becomes of dirty pages. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk.h"
#include "row.h"

#define PAGES		4
#define SOFT_DIRTY	(1ULL << 55)

/* What the device could do before, it can do after; it does not even fault. */
static void expect_untouched(struct row *row)
{
	uint64_t faults = stats_now(row->dev).my_device_faults;
	struct devmodel_wait end;

	row_expect_none(row);
	EXPECT_OK(devmodel_run(row->dev, &end, "sum", row->memory, words(row->pages)));
	EXPECT_EQ(stats_now(row->dev).my_device_faults, faults);
	EXPECT_PATTERN(row->memory, row->pages, row->seed);
}

static void none_same(int dev)
{
	struct row row;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_READ | PROT_WRITE));
	expect_untouched(&row);
	/* This one the kernel does tell of, and it takes nothing away. */
	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT(stats_now(dev).my_notifications > row.before.my_notifications);
	expect_untouched(&row);
	EXPECT_EQ(row_writable(&row), PAGES);
}

static void none_more(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct row row;

	pattern_write(memory, PAGES, ROW_SEED);
	EXPECT(!mprotect(memory, PAGES * page_size(), PROT_READ));
	row_begin_reading(&row, dev, memory, PAGES);
	EXPECT_EQ(row_writable(&row), 0);
	EXPECT(!mprotect(memory, PAGES * page_size(), PROT_READ | PROT_WRITE));
	expect_untouched(&row);
	device_writes(dev, memory, PAGES, 3);
	EXPECT_PATTERN(memory, PAGES, 3);
}

static void none_elsewhere(int dev)
{
	uint64_t *other = map_anonymous(PAGES);
	struct row row;

	memset(other, 1, PAGES * page_size());
	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	EXPECT(!mprotect(other, PAGES * page_size(), PROT_READ));
	EXPECT(!madvise(other, PAGES * page_size(), MADV_DONTNEED));
	EXPECT(!munmap(other, PAGES * page_size()));
	/* The kernel told, the device was left alone. */
	EXPECT(stats_now(dev).my_notifications >= row.before.my_notifications + 3);
	EXPECT_EQ(stats_now(dev).my_invalidates, row.before.my_invalidates);
	EXPECT_EQ(trace_count("devmodel_update"), 0);
	expect_untouched(&row);
}

static void protect_mprotect(int dev)
{
	struct devmodel_wait end;
	struct row row;
	int result;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	EXPECT(!mprotect(row.memory, PAGES * page_size(), PROT_READ));
	row_expect(&row, "WRITE_PROTECT", ROW_READING_STAYS);
	EXPECT_EQ(row.update.writable_before, PAGES);
	EXPECT_EQ(row_readable(&row), PAGES);
	EXPECT_EQ(row_writable(&row), 0);
	EXPECT(stats_now(dev).pages_dirtied >= row.before.pages_dirtied + PAGES);
	result = devmodel_run(dev, &end, "fill", row.memory, 1, 0);
	expect_fault(&end, result, row.memory, page_size(), DEVMODEL_ACCESS_WRITE);
	row_bytes(&row);
}

/* userfaultfd protects pages of memory that stays writable. */
static void protect_userfaultfd(int dev)
{
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct row row;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		ktap_skip("no userfaultfd with write protection");
	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	range.range.start = protect.range.start = (uintptr_t)row.memory;
	range.range.len = protect.range.len = PAGES * page_size();
	EXPECT(!ioctl(uffd, UFFDIO_REGISTER, &range));
	EXPECT(!ioctl(uffd, UFFDIO_WRITEPROTECT, &protect));
	row_expect(&row, "WRITE_PROTECT", ROW_READING_STAYS);
	EXPECT_EQ(row_writable(&row), 0);
	row_bytes(&row);
	protect.mode = 0;
	EXPECT(!ioctl(uffd, UFFDIO_WRITEPROTECT, &protect));
	device_writes(dev, row.memory, PAGES, 4);
	EXPECT_PATTERN(row.memory, PAGES, 4);
	close(uffd);
}

static void *map_file(int file)
{
	void *memory = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	EXPECT(memory != MAP_FAILED);
	return memory;
}

/* Unmap a file, have the kernel forget it, and read it from the disk again. */
static void expect_in_file(int file, void *memory, uint64_t seed)
{
	uint64_t *copy = map_anonymous(PAGES);
	size_t length = PAGES * page_size();
	unsigned char resident[PAGES];

	EXPECT(!munmap(memory, length));
	disk_drop_caches(file);
	memory = map_file(file);
	EXPECT(!mincore(memory, length, resident));
	EXPECT(!(resident[0] & 1));
	EXPECT_EQ(pread(file, copy, length, 0), length);
	EXPECT_PATTERN(copy, PAGES, seed);
}

static void protect_writeback(int dev)
{
	int file = make_file(disk_mount(), PAGES);
	struct row row;

	row_begin(&row, dev, map_file(file), PAGES);
	EXPECT(!msync(row.memory, PAGES * page_size(), MS_SYNC));
	row_expect(&row, "WRITE_PROTECT", ROW_READING_STAYS);
	EXPECT_EQ(row_readable(&row), PAGES);
	EXPECT_EQ(row_writable(&row), 0);
	row_bytes(&row);
	/* The page is clean now; a write by the device has to make it dirty again. */
	device_writes(dev, row.memory, PAGES, 21);
	expect_in_file(file, row.memory, 21);
}

static void dirty_file(int dev)
{
	int file = make_file(disk_mount(), PAGES);
	struct row row;

	row_begin(&row, dev, map_file(file), PAGES);
	EXPECT(row.device[0] & DEVMODEL_PAGE_DIRTY);
	expect_in_file(file, row.memory, ROW_SEED);
	EXPECT_EQ(stats_now(dev).pages_dirtied, row.before.pages_dirtied + PAGES);
}

/* What fork leaves shared, the device may only read; its next write faults and breaks that. */
static void by_fork(int dev)
{
	struct row row;
	char byte;
	int go[2];
	pid_t child;

	EXPECT(!pipe(go));
	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	child = fork();
	if (!child) {
		close(go[1]);
		EXPECT_EQ(read(go[0], &byte, 1), 0);
		EXPECT_PATTERN(row.memory, PAGES, ROW_SEED);
		_exit(0);
	}
	row_expect(&row, "FORK", ROW_READING_STAYS);
	EXPECT_EQ(row_readable(&row), PAGES);
	EXPECT_EQ(row_writable(&row), 0);
	row_bytes(&row);
	device_writes(dev, row.memory, PAGES, 9);
	row_look(&row);
	EXPECT_EQ(row_writable(&row), PAGES);
	close(go[1]);
	EXPECT_EQ(wait_child(child), 0);
	EXPECT_PATTERN(row.memory, PAGES, 9);
}

static bool soft_dirty(const uint64_t *address)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	EXPECT_EQ(pread(pagemap, &entry, sizeof(entry),
			(uintptr_t)address / page_size() * sizeof(entry)), sizeof(entry));
	close(pagemap);
	return entry & SOFT_DIRTY;
}

static void expect_soft_dirty(struct row *row)
{
	struct devmodel_wait end;
	uint64_t sum;

	EXPECT_OK(devmodel_run(row->dev, &end, "sum", row->memory, words(PAGES)));
	sum = end.result[0];
	/* New memory is dirty to a kernel that looks. */
	if (!soft_dirty(row->memory))
		ktap_skip("this kernel does not tell soft-dirty pages");
	kernel_set("/proc/self/clear_refs", "4");
	EXPECT(!soft_dirty(row->memory) && !soft_dirty(row->memory + words(1)));
	row_expect(row, "ISDIRTY", ROW_READING_STAYS);
	EXPECT_EQ(row_readable(row), PAGES);
	EXPECT_EQ(row_writable(row), 0);
	/* Nothing may be mapped meanwhile: new memory is dirty, and so all that it merges with. */
	EXPECT_OK(devmodel_run(row->dev, &end, "sum", row->memory, words(PAGES)));
	EXPECT_EQ(end.result[0], sum);
	EXPECT(!soft_dirty(row->memory) && !soft_dirty(row->memory + words(1)));
	EXPECT_OK(devmodel_run(row->dev, &end, "fill", row->memory + words(1), 1, 7));
	EXPECT(!soft_dirty(row->memory));
	EXPECT(soft_dirty(row->memory + words(1)));
	EXPECT_EQ(row->memory[words(1)], 7);
}

static void by_soft_dirty(int dev)
{
	struct row row;

	row_begin(&row, dev, map_anonymous(PAGES), PAGES);
	expect_soft_dirty(&row);
}

static void by_soft_dirty_in_hbm(int dev)
{
	uint64_t *memory = map_anonymous(PAGES);
	struct row row;

	migrate_all(dev, memory, PAGES, DEVMODEL_TARGET_DEVICE);
	row_begin(&row, dev, memory, PAGES);
	EXPECT_EQ(devmodel_place(row.device[1]), DEVMODEL_PLACE_HBM);
	expect_soft_dirty(&row);
}

/* A page that the device alone reaches: a CPU's touch takes just that one back. */
static void exclusive(int dev)
{
	size_t length = PAGES * page_size();
	uint64_t *memory = map_anonymous(PAGES);
	uint32_t cpu[PAGES], device[PAGES];
	struct trace_update found[1];
	struct devmodel_wait end;
	size_t i;

	for (i = 0; i < PAGES; i++)
		EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + words(i), 3, 1));
	EXPECT_OK(devmodel_snapshot(dev, memory, length, cpu, device));
	for (i = 0; i < PAGES; i++) {
		EXPECT_EQ(cpu[i], 0);
		EXPECT(device[i] & DEVMODEL_PAGE_WRITE);
	}
	trace_begin();
	memory[words(1)]++;
	EXPECT_EQ(trace_updates(dev, memory, length, found, 1), 1);
	/* 7.2 calls it CLEAR, as it does with any page that goes. */
	EXPECT(!strcmp(found->event, "EXCLUSIVE") || !strcmp(found->event, "MIGRATE"));
	EXPECT_EQ(found->pte_mask, 0);
	EXPECT_EQ(found->start, (uintptr_t)(memory + words(1)));
	EXPECT_EQ(found->writable_before, 1);
	EXPECT_EQ(found->valid_after, 0);
	EXPECT_EQ(trace_invalidates(dev, memory, length), 1);
	EXPECT_OK(devmodel_snapshot(dev, memory, length, cpu, device));
	for (i = 0; i < PAGES; i++) {
		EXPECT_EQ(!!(cpu[i] & DEVMODEL_PAGE_WRITE), i == 1);
		EXPECT_EQ(!!(device[i] & DEVMODEL_PAGE_WRITE), i != 1);
	}
	EXPECT_OK(devmodel_run(dev, &end, "atomic_add", memory + words(1), 3, 1));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(memory[words(i)], i == 1 ? 7 : 3);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "NONE by mprotect that leaves write", .run = none_same },
		{ .name = "NONE by mprotect that adds write", .run = none_more },
		{ .name = "NONE by events elsewhere", .run = none_elsewhere },
		{ .name = "WRITE_PROTECT by mprotect", .run = protect_mprotect },
		{ .name = "WRITE_PROTECT by userfaultfd", .run = protect_userfaultfd },
		{ .name = "WRITE_PROTECT by write-back", .run = protect_writeback },
		{ .name = "dirty: what the device wrote reaches the file", .run = dirty_file },
		{ .name = "EXCLUSIVE by a CPU's touch", .run = exclusive },
		{ .name = "FORK", .run = by_fork },
		{ .name = "ISDIRTY by clear_refs", .run = by_soft_dirty },
		{ .name = "ISDIRTY by clear_refs, in coherent HBM", .run = by_soft_dirty_in_hbm,
		  .needs = KTAP_COHERENT },
	};

	return ktap_main(argc, argv, "The event table: events that take the right to write", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
