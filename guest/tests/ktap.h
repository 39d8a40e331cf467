/* SPDX-License-Identifier: MIT */
/*
 * Tests that print KTAP. Each test runs in a child of its own, with a time
 * limit, so that one that crashes or hangs is one "not ok" and not the end;
 * and after each one everything that the driver gave it must be given back.
 *
 *	static void fills_memory(int dev) { ... EXPECT(word == 42); ... }
 *
 *	int main(int argc, char **argv)
 *	{
 *		static const struct ktap_test tests[] = { { "fills memory", fills_memory } };
 *
 *		return ktap_main(argc, argv, "what these tests are about", tests, 1);
 *	}
 */
#ifndef _KTAP_H
#define _KTAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/libdevmodel.h"
#include "../lib/memory.h"

/* Where a test can be of use; elsewhere it is skipped. */
enum ktap_needs {
	KTAP_ANY = 0,
	KTAP_HBM,	/* any device memory */
	KTAP_FRAMES,	/* private and coherent: the driver gives out the frames */
	KTAP_MIRROR,	/* models without device memory */
	KTAP_PRIVATE,
	KTAP_COHERENT,
	KTAP_SMALL,	/* so little device memory that a test can use several times as much */
	KTAP_PEERS,	/* two devices with memory: /dev/devmodel0 and the last one */
	KTAP_NODES,	/* system memory in two nodes */
};

struct ktap_test {
	const char *name;
	void (*run)(int dev);	/* @dev is open, and closed at exit */
	enum ktap_needs needs;
	unsigned int seconds;	/* limit; 0: 60 */
};

/* Run all tests, or with `-t TEXT` those whose name has TEXT in it. Returns the exit code. */
int ktap_main(int argc, char **argv, const char *about, const struct ktap_test *tests,
	      size_t count);

/* End the running test: it failed, or cannot be run here. From the test's process only. */
__attribute__((noreturn, format(printf, 3, 4)))
void ktap_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2)))
void ktap_skip(const char *format, ...);
/* A line for the person who reads the log. */
__attribute__((format(printf, 1, 2)))
void ktap_note(const char *format, ...);

#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			ktap_fail(__FILE__, __LINE__, "expected %s", #condition); \
	} while (0)

/* Two numbers that must be equal, both shown if they are not. */
#define EXPECT_EQ(seen, wanted) \
	do { \
		unsigned long long seen_ = (unsigned long long)(seen); \
		unsigned long long wanted_ = (unsigned long long)(wanted); \
		if (seen_ != wanted_) \
			ktap_fail(__FILE__, __LINE__, "%s is %llu (0x%llx), expected %llu (0x%llx)", \
				  #seen, seen_, seen_, wanted_, wanted_); \
	} while (0)

/* A call of libdevmodel that must work. */
#define EXPECT_OK(call) \
	do { \
		if ((call) < 0) \
			ktap_fail(__FILE__, __LINE__, "%s", devmodel_error()); \
	} while (0)

/* A call that must fail, in this way. */
#define EXPECT_ERRNO(call, wanted) \
	do { \
		errno = 0; \
		if ((long)(call) != -1) \
			ktap_fail(__FILE__, __LINE__, "%s did not fail", #call); \
		if (errno != (wanted)) \
			ktap_fail(__FILE__, __LINE__, "%s: errno is %d (%s), expected %s", #call, \
				  errno, strerror(errno), #wanted); \
	} while (0)

/* Memory for tests; each of them ends the test if there is none. */
void *map_anonymous(size_t pages);
void *map_shared(size_t pages);
/* A file of @pages zeroed pages without a name. Returns its descriptor. */
int make_file(const char *folder, size_t pages);

#define EXPECT_PATTERN(address, pages, seed) \
	do { \
		long wrong_ = pattern_wrong(address, pages, seed); \
		if (wrong_ >= 0) \
			ktap_fail(__FILE__, __LINE__, "%s: wrong from byte 0x%lx on: 0x%llx", \
				  #address, wrong_ * 8, \
				  (unsigned long long)((const uint64_t *)(address))[wrong_]); \
	} while (0)

/* Open the last device of the machine; device 0 is what a test is given. */
int open_last(void);
/*
 * Have the kernel let go of a node's pages that nobody has mapped any more. Newer
 * ones (without lru_add_drain() in unmap_region()) leave them in lists of each
 * processor, and then they count as used.
 */
void drain_node(int dev);
struct devmodel_stats stats_now(int dev);
enum devmodel_model model_now(int dev);
/* Move all of a range, or end the test. */
void migrate_all(int dev, const void *address, size_t pages, enum devmodel_target target);
/* How many pages of a range lie in HBM, as the kernel sees it. */
size_t pages_in_hbm(int dev, const void *address, size_t pages);
/* Wait for a child; returns its exit code, or 128 + the signal. */
int wait_child(int pid);
/* Run a program that must end with a fault at an address within [address, address + length). */
void expect_fault(const struct devmodel_wait *end, int result, const void *address,
		  size_t length, enum devmodel_access access);

#endif /* _KTAP_H */
