/* SPDX-License-Identifier: MIT */
/*
 * libdevmodel: device programs over this process's own addresses.
 *
 *	int dev = devmodel_open(NULL);
 *	struct devmodel_wait end;
 *	uint64_t *words = malloc(count * sizeof(*words));
 *
 *	if (dev < 0 || devmodel_run(dev, &end, "fill", words, count, 42))
 *		errx(1, "%s", devmodel_error());
 *
 * Every call returns 0 (or what it makes) and, if it fails, -1 with errno set
 * and one line in devmodel_error(). An open device is a mirror of the process
 * that opened it: a child of fork() opens its own.
 */
#ifndef _LIBDEVMODEL_H
#define _LIBDEVMODEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "devmodel.h"

#define DEVMODEL_DEFAULT_PATH	"/dev/devmodel0"
/* How long devmodel_run() waits. Nothing waits for ever. */
#define DEVMODEL_RUN_MS		60000
#define DEVMODEL_MAX_ARGS	8

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Open a device: @path, or $DEVMODEL_DEVICE, or /dev/devmodel0. Returns a file
 * descriptor. EBUSY: this process has this device open already.
 */
int devmodel_open(const char *path);
void devmodel_close(int dev);

int devmodel_info(int dev, struct devmodel_info *info);
int devmodel_stats(int dev, struct devmodel_stats *stats);

/*
 * Start a device program, with an array of arguments. Returns a handle > 0 for
 * devmodel_wait(), or -1; EAGAIN: too many are running, wait for one.
 */
int64_t devmodel_launch_v(int dev, const char *program, unsigned int nargs,
			  const uint64_t *args);

/*
 * Wait for a launch. Returns 0 when the program ended; @end->status tells how.
 * ETIME: still running, and the handle stays good. ENOENT: there is no such
 * program. EINVAL: it does not take these arguments. With these two @end->status
 * is NO_PROGRAM and BAD_ARGUMENT, with other errors PENDING.
 */
int devmodel_wait(int dev, int64_t handle, unsigned int timeout_ms,
		  struct devmodel_wait *end);

/*
 * Launch and wait. Returns 0 only if the program ended with DEVMODEL_STATUS_OK.
 * Else errno is that of launch or wait, or by status: EFAULT for FAULT (an
 * address is not mapped or not writable, or of memory that no device can have
 * alone where the program wants an atomic), EIO for the others.
 *
 * An atomic ("atomic_add") is one step to this process's CPUs, too. It needs
 * private memory: for MAP_SHARED the program ends with DEVMODEL_STATUS_FAULT and
 * DEVMODEL_ACCESS_ATOMIC.
 */
int devmodel_run_v(int dev, struct devmodel_wait *end, const char *program,
		   unsigned int nargs, const uint64_t *args);

/*
 * Move the pages of a range. Returns 0 also if some of them stayed: see the
 * counts in @done and, if @outcomes is not NULL, one enum devmodel_outcome per
 * page there. @done may be NULL.
 */
int devmodel_migrate(int dev, const void *address, size_t length,
		     enum devmodel_target target, struct devmodel_migrate *done,
		     uint32_t *outcomes);

int devmodel_advise(int dev, const void *address, size_t length,
		    enum devmodel_policy policy);

/*
 * A range as the kernel's page table (@cpu) and the device's (@device) see it:
 * one word of enum devmodel_page bits per page each. Returns 0.
 */
int devmodel_snapshot(int dev, const void *address, size_t length, uint32_t *cpu,
		      uint32_t *device);

/* Where a page is, from a word of a snapshot. */
static inline enum devmodel_place devmodel_place(uint32_t state)
{
	return (enum devmodel_place)((state >> DEVMODEL_PLACE_SHIFT) & 0xf);
}

/* The last failure of this thread, in one line without a newline. */
const char *devmodel_error(void);

/* Names, as in devmodel/abi; "?" for a number that has none. */
const char *devmodel_model_name(enum devmodel_model model);
const char *devmodel_status_name(enum devmodel_status status);
const char *devmodel_outcome_name(enum devmodel_outcome outcome);
const char *devmodel_place_name(enum devmodel_place place);

/* A float as the argument of a program that says it takes a float's bits. */
static inline uint64_t devmodel_float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

#ifdef __cplusplus
}
#endif

/*
 * devmodel_launch(dev, "name", args...) and devmodel_run(dev, &end, "name", args...)
 * take up to 8 integers and pointers; nothing else compiles, a float neither: is it one, or
 * its bits? No functions, because a variadic function would read garbage where an int was
 * given for a 64-bit argument, and C++ has no template by the name of a struct.
 */
#ifdef __cplusplus
#include <type_traits>

namespace devmodel {

template <typename Pointed>
inline uint64_t word(Pointed *address)
{
	return reinterpret_cast<uintptr_t>(address);
}

template <typename Number>
inline uint64_t word(Number number)
{
	static_assert(std::is_integral<Number>::value || std::is_enum<Number>::value,
		      "a program takes integers and pointers; see devmodel_float_bits()");
	return static_cast<uint64_t>(number);
}

template <typename... Args>
inline int64_t launch(int dev, const char *program, Args... args)
{
	static_assert(sizeof...(args) <= DEVMODEL_MAX_ARGS, "a program takes 8 arguments");
	const uint64_t words[] = { word(args)..., 0 };

	return devmodel_launch_v(dev, program, sizeof...(args), words);
}

template <typename... Args>
inline int run(int dev, struct devmodel_wait *end, const char *program, Args... args)
{
	static_assert(sizeof...(args) <= DEVMODEL_MAX_ARGS, "a program takes 8 arguments");
	const uint64_t words[] = { word(args)..., 0 };

	return devmodel_run_v(dev, end, program, sizeof...(args), words);
}

} /* namespace devmodel */

#define devmodel_launch(...)	devmodel::launch(__VA_ARGS__)
#define devmodel_run(...)	devmodel::run(__VA_ARGS__)

#else /* C */

#define DEVMODEL_WORD(a) \
	((uint64_t)_Generic((a), float: (void)0, double: (void)0, long double: (void)0, \
			    default: (a)))
#define DEVMODEL_WORDS_0(name)
#define DEVMODEL_WORDS_1(name, a)      DEVMODEL_WORD(a),
#define DEVMODEL_WORDS_2(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_1(name, __VA_ARGS__)
#define DEVMODEL_WORDS_3(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_2(name, __VA_ARGS__)
#define DEVMODEL_WORDS_4(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_3(name, __VA_ARGS__)
#define DEVMODEL_WORDS_5(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_4(name, __VA_ARGS__)
#define DEVMODEL_WORDS_6(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_5(name, __VA_ARGS__)
#define DEVMODEL_WORDS_7(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_6(name, __VA_ARGS__)
#define DEVMODEL_WORDS_8(name, a, ...) DEVMODEL_WORD(a), DEVMODEL_WORDS_7(name, __VA_ARGS__)
#define DEVMODEL_NTH(name, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, n, ...) n
#define DEVMODEL_COUNT(...) \
	DEVMODEL_NTH(__VA_ARGS__, AT_MOST_8, AT_MOST_8, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0)
#define DEVMODEL_PASTE_(a, b)	 a##b
#define DEVMODEL_PASTE(a, b)	 DEVMODEL_PASTE_(a, b)
#define DEVMODEL_FIRST(name, ...) name
/* A program's name and its arguments as three: the name, how many, an array. */
#define DEVMODEL_ARGS(...) \
	DEVMODEL_FIRST(__VA_ARGS__, 0), \
	DEVMODEL_COUNT(__VA_ARGS__), \
	(const uint64_t[]){ \
		DEVMODEL_PASTE(DEVMODEL_WORDS_, DEVMODEL_COUNT(__VA_ARGS__))(__VA_ARGS__) 0 \
	}

#define devmodel_launch(dev, ...) \
	devmodel_launch_v(dev, DEVMODEL_ARGS(__VA_ARGS__))
#define devmodel_run(dev, end, ...) \
	devmodel_run_v(dev, end, DEVMODEL_ARGS(__VA_ARGS__))

#endif /* __cplusplus */

#endif /* _LIBDEVMODEL_H */
