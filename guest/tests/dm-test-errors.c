// SPDX-License-Identifier: MIT
/* Bad input to the driver: a clear errno or status each, and nothing happens. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ktap.h"

static void second_open(int dev)
{
	EXPECT_ERRNO(devmodel_open(NULL), EBUSY);
	EXPECT(strstr(devmodel_error(), "open already"));
	devmodel_close(dev);
	dev = devmodel_open(NULL);
	EXPECT_OK(dev);
}

static void unknown_program(int dev)
{
	struct devmodel_launch unterminated = { .handle = 0 };
	struct devmodel_wait end;

	EXPECT_ERRNO(devmodel_run(dev, &end, "no_such_program", 1), ENOENT);
	EXPECT_EQ(end.status, DEVMODEL_STATUS_NO_PROGRAM);
	EXPECT(strstr(devmodel_error(), "no device program named 'no_such_program'"));
	EXPECT_ERRNO(devmodel_run(dev, &end, "", 1), ENOENT);
	EXPECT_ERRNO(devmodel_run(dev, &end, "a_name_that_is_longer_than_the_field_for_it", 1), ENOENT);

	/* What the library does not let pass, the driver and the device must stand. */
	memset(unterminated.program, 'x', sizeof(unterminated.program));
	if (!ioctl(dev, DEVMODEL_IOC_LAUNCH, &unterminated))
		EXPECT_ERRNO(devmodel_wait(dev, unterminated.handle, 10000, &end), ENOENT);
	memset(unterminated.program, 0xff, sizeof(unterminated.program));
	if (!ioctl(dev, DEVMODEL_IOC_LAUNCH, &unterminated))
		EXPECT_ERRNO(devmodel_wait(dev, unterminated.handle, 10000, &end), ENOENT);
	memset(unterminated.program, 0, sizeof(unterminated.program));
	if (!ioctl(dev, DEVMODEL_IOC_LAUNCH, &unterminated))
		EXPECT_ERRNO(devmodel_wait(dev, unterminated.handle, 10000, &end), ENOENT);
}

static void wrong_arguments(int dev)
{
	uint64_t *memory = map_anonymous(1);
	struct devmodel_launch launch = { .program = "sum", .nargs = 9 };
	struct devmodel_wait end;

	EXPECT_ERRNO(devmodel_run(dev, &end, "fill", memory), EINVAL);
	EXPECT_EQ(end.status, DEVMODEL_STATUS_BAD_ARGUMENT);
	EXPECT(strstr(devmodel_error(), "does not take these arguments"));
	EXPECT_ERRNO(devmodel_run(dev, &end, "fill", memory, 1, 2, 3), EINVAL);
	EXPECT_ERRNO(devmodel_run(dev, &end, "hash_lookup", memory, 3, memory, 1, memory), EINVAL);
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_LAUNCH, &launch), EINVAL);
	launch.nargs = 2;
	launch.flags = 1;
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_LAUNCH, &launch), EINVAL);
	EXPECT_EQ(memory[0], 0);
}

static void unmapped(int dev)
{
	size_t size = page_size();
	uint8_t *memory = map_anonymous(3);
	struct devmodel_wait end;
	int result;

	munmap(memory + size, size);
	result = devmodel_run(dev, &end, "sum", memory + size + 8, 1);
	expect_fault(&end, result, memory + size, size, DEVMODEL_ACCESS_READ);
	EXPECT_EQ(errno, EFAULT);
	EXPECT(strstr(devmodel_error(), "is not mapped"));
	result = devmodel_run(dev, &end, "fill", memory + size, 1, 1);
	expect_fault(&end, result, memory + size, size, DEVMODEL_ACCESS_WRITE);
	/* A range with a hole: the address is the hole's, not the range's. */
	result = devmodel_run(dev, &end, "sum", memory, 3 * size / 8);
	expect_fault(&end, result, memory + size, size, DEVMODEL_ACCESS_READ);
	result = devmodel_run(dev, &end, "fill", memory, 3 * size / 8, 1);
	expect_fault(&end, result, memory + size, size, DEVMODEL_ACCESS_WRITE);
}

static void impossible_addresses(int dev)
{
	static const uint64_t addresses[] = {
		0, 8, 0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffff81000000,
		0xfffffffffffffff8, 0x8000000000000000, 1ULL << 52,
	};
	struct devmodel_wait end;
	size_t i;

	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		EXPECT_EQ(devmodel_run(dev, &end, "sum", addresses[i], 1), -1);
		EXPECT(end.status == DEVMODEL_STATUS_FAULT || end.status == DEVMODEL_STATUS_BAD_ARGUMENT);
		EXPECT_EQ(devmodel_run(dev, &end, "fill", addresses[i], 1, 1), -1);
		EXPECT(end.status == DEVMODEL_STATUS_FAULT || end.status == DEVMODEL_STATUS_BAD_ARGUMENT);
	}
}

/* Sizes that no memory has, and ranges that wrap around. */
static void impossible_sizes(int dev)
{
	static const uint64_t counts[] = { 1ULL << 40, 1ULL << 61, ~0ULL, ~0ULL >> 3, 1ULL << 63 };
	uint64_t *memory = map_anonymous(1);
	struct devmodel_wait end;
	size_t i;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		EXPECT_EQ(devmodel_run(dev, &end, "sum", memory, counts[i]), -1);
		EXPECT(end.status == DEVMODEL_STATUS_FAULT || end.status == DEVMODEL_STATUS_BAD_ARGUMENT);
		EXPECT_EQ(devmodel_run(dev, &end, "histogram", memory, counts[i], memory), -1);
		EXPECT(end.status == DEVMODEL_STATUS_FAULT || end.status == DEVMODEL_STATUS_BAD_ARGUMENT);
	}
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 0));
	EXPECT_EQ(end.result[0], 0);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
}

static void bad_ranges(int dev)
{
	uint8_t *memory = map_anonymous(4);
	const uint64_t size = page_size(), begin = (uintptr_t)memory;
	const struct {
		uint64_t address, length;
	} bad[] = {
		{ begin + 1, size }, { begin + 8, size }, { begin, 0 }, { begin, 1 },
		{ begin, size + 1 }, { begin, ~0ULL }, { begin, -size }, { -size, 2 * size },
		{ -size, size }, { 1ULL << 63, size }, { 1ULL << 47, size },
	};
	uint32_t states[16];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		void *address = (void *)bad[i].address;

		EXPECT_ERRNO(devmodel_advise(dev, address, bad[i].length,
					     DEVMODEL_POLICY_IN_PLACE), EINVAL);
		EXPECT_ERRNO(devmodel_snapshot(dev, address, bad[i].length, states, states), EINVAL);
		errno = 0;
		EXPECT_EQ(devmodel_migrate(dev, address, bad[i].length, DEVMODEL_TARGET_SYSTEM,
					   NULL, NULL), -1);
		EXPECT(errno == EINVAL || errno == EOPNOTSUPP);
	}
}

static void bad_values(int dev)
{
	struct devmodel_migrate migrate = { .length = page_size() };
	struct devmodel_advise advise = { .length = page_size() };
	uint8_t *memory = map_anonymous(1);
	int wanted = model_now(dev) == DEVMODEL_MODEL_MIRROR ? EOPNOTSUPP : EINVAL;

	migrate.address = advise.address = (uintptr_t)memory;
	EXPECT_ERRNO(devmodel_advise(dev, memory, page_size(), 77), EINVAL);
	advise.flags = 1;
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_ADVISE, &advise), EINVAL);
	EXPECT_EQ(devmodel_migrate(dev, memory, page_size(), 77, NULL, NULL), -1);
	EXPECT(errno == EINVAL || errno == wanted);
	migrate.flags = 1;
	EXPECT_EQ(ioctl(dev, DEVMODEL_IOC_MIGRATE, &migrate), -1);
	EXPECT(errno == EINVAL || errno == wanted);
}

static void bad_pointers(int dev)
{
	uint8_t *memory = map_anonymous(2);
	uint32_t states[2];

	memory[0] = 1;
	memory[page_size()] = 1;
	EXPECT_ERRNO(devmodel_snapshot(dev, memory, page_size(), NULL, states), EFAULT);
	EXPECT_ERRNO(devmodel_snapshot(dev, memory, page_size(), states, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_STATS, NULL), EFAULT);
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_LAUNCH, 8), EFAULT);
	EXPECT_ERRNO(ioctl(dev, DEVMODEL_IOC_WAIT, 0xffffffff81000000), EFAULT);
	if (model_now(dev) != DEVMODEL_MODEL_MIRROR) {
		EXPECT_ERRNO(devmodel_migrate(dev, memory, page_size(), DEVMODEL_TARGET_DEVICE, NULL,
					      (void *)8), EFAULT);
		EXPECT_EQ(memory[0], 1);
	}
}

static void unknown_requests(int dev)
{
	uint64_t argument[64] = {};
	unsigned int number;

	EXPECT_ERRNO(ioctl(dev, 0, argument), ENOTTY);
	EXPECT_ERRNO(ioctl(dev, ~0U, argument), ENOTTY);
	for (number = 7; number < 256; number += 31)
		EXPECT_ERRNO(ioctl(dev, _IOWR(DEVMODEL_IOC_MAGIC, number, uint64_t[4]), argument), ENOTTY);
	/* The right number with another size is another request. */
	EXPECT_ERRNO(ioctl(dev, _IOR(DEVMODEL_IOC_MAGIC, 0, uint64_t[1]), argument), ENOTTY);
	EXPECT_ERRNO(ioctl(dev, _IOR(DEVMODEL_IOC_MAGIC, 6, uint64_t[60]), argument), ENOTTY);
	errno = 0;
	EXPECT_EQ(read(dev, argument, sizeof(argument)), -1);
	EXPECT_EQ(write(dev, argument, sizeof(argument)), -1);
	EXPECT(mmap(NULL, page_size(), PROT_READ, MAP_SHARED, dev, 0) == MAP_FAILED);
}

static void handles(int dev)
{
	uint64_t *memory = map_anonymous(1);
	struct devmodel_wait end;
	int64_t handle;

	EXPECT_ERRNO(devmodel_wait(dev, 12345, 1, &end), ESRCH);
	EXPECT_ERRNO(devmodel_wait(dev, 0, 1, &end), ESRCH);
	EXPECT_ERRNO(devmodel_wait(dev, -1, 1, &end), ESRCH);
	handle = devmodel_launch(dev, "atomic_add", memory, 1000000000000, 1);
	EXPECT_OK(handle);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 0, &end), ETIME);
	EXPECT_ERRNO(devmodel_wait(dev, handle, 50, &end), ETIME);
	EXPECT_EQ(end.status, DEVMODEL_STATUS_PENDING);
	munmap(memory, page_size());
	EXPECT_OK(devmodel_wait(dev, handle, 10000, &end));
	EXPECT_EQ(end.status, DEVMODEL_STATUS_FAULT);
	/* Waited for: gone. */
	EXPECT_ERRNO(devmodel_wait(dev, handle, 1, &end), ESRCH);
}

/* Launches that nobody waits for: refused with EAGAIN at some point, and the device lives on. */
static void too_many_launches(int dev)
{
	static int64_t handle[5000];
	uint64_t *memory = map_anonymous(1);
	struct devmodel_wait end;
	size_t i, count = 0, ended = 0;

	for (i = 0; i < 5000; i++) {
		handle[i] = devmodel_launch(dev, "sum", memory, 1);
		if (handle[i] < 0)
			break;
		count++;
	}
	EXPECT(count >= 64);
	if (i < 5000) {
		EXPECT_EQ(errno, EAGAIN);
		EXPECT(strstr(devmodel_error(), "too many"));
	}
	ktap_note("%zu launches in a row", count);
	for (i = 0; i < count; i++) {
		EXPECT_OK(devmodel_wait(dev, handle[i], 20000, &end));
		ended += end.status == DEVMODEL_STATUS_OK;
	}
	EXPECT_EQ(ended, count);
	EXPECT_OK(devmodel_run(dev, &end, "sum", memory, 1));
}

static void no_device_memory(int dev)
{
	uint8_t *memory = map_anonymous(1);
	struct devmodel_info info;

	EXPECT_ERRNO(devmodel_migrate(dev, memory, page_size(), DEVMODEL_TARGET_DEVICE, NULL, NULL),
		     EOPNOTSUPP);
	EXPECT(strstr(devmodel_error(), "no device memory"));
	EXPECT_OK(devmodel_info(dev, &info));
	EXPECT_EQ(info.hbm_bytes, 0);
	/* Advice may be given anywhere; here it has no effect. */
	EXPECT_OK(devmodel_advise(dev, memory, page_size(), DEVMODEL_POLICY_ON_TOUCH));
}

static void info(int dev)
{
	struct devmodel_info info;

	EXPECT_OK(devmodel_info(dev, &info));
	EXPECT_EQ(info.abi_major, DEVMODEL_ABI_MAJOR);
	EXPECT_EQ(info.layout_hash, DEVMODEL_LAYOUT_HASH);
	EXPECT_EQ(1UL << info.page_shift, page_size());
	EXPECT(info.context);
	EXPECT(!info.reserved);
}

int main(int argc, char **argv)
{
	static const struct ktap_test tests[] = {
		{ .name = "info says what the device is", .run = info },
		{ .name = "a second open by one process is refused", .run = second_open },
		{ .name = "an unknown program is refused", .run = unknown_program },
		{ .name = "wrong arguments are refused", .run = wrong_arguments },
		{ .name = "an unmapped address is a fault with that address", .run = unmapped },
		{ .name = "impossible addresses are faults", .run = impossible_addresses },
		{ .name = "impossible sizes are faults", .run = impossible_sizes },
		{ .name = "ranges that are no pages are refused", .run = bad_ranges },
		{ .name = "unknown targets, policies and flags are refused", .run = bad_values },
		{ .name = "bad pointers are refused", .run = bad_pointers },
		{ .name = "unknown requests are refused", .run = unknown_requests },
		{ .name = "handles are good once", .run = handles },
		{ .name = "too many launches", .run = too_many_launches },
		{ .name = "without device memory nothing migrates", .run = no_device_memory,
		  .needs = KTAP_MIRROR },
	};

	return ktap_main(argc, argv, "Bad input is refused clearly", tests,
			 sizeof(tests) / sizeof(tests[0]));
}
