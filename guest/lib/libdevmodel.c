// SPDX-License-Identifier: MIT
/* See libdevmodel.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libdevmodel.h"

static _Thread_local char message[256];

const char *devmodel_error(void)
{
	return message[0] ? message : "no error";
}

/* Note down a failure; the errno is kept. Returns -1. */
__attribute__((format(printf, 1, 2)))
static int failed(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	errno = error;
	return -1;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *name_of(const char *const *names, size_t count, unsigned int value)
{
	return value < count && names[value] ? names[value] : "?";
}

const char *devmodel_model_name(enum devmodel_model model)
{
	static const char *const names[] = {
		[DEVMODEL_MODEL_MIRROR] = "mirror",
		[DEVMODEL_MODEL_PRIVATE] = "private",
		[DEVMODEL_MODEL_COHERENT] = "coherent",
		[DEVMODEL_MODEL_NUMA] = "numa",
		[DEVMODEL_MODEL_CDM] = "cdm",
	};

	return name_of(names, COUNT(names), model);
}

const char *devmodel_status_name(enum devmodel_status status)
{
	static const char *const names[] = {
		[DEVMODEL_STATUS_OK] = "OK",
		[DEVMODEL_STATUS_BAD_COMMAND] = "BAD_COMMAND",
		[DEVMODEL_STATUS_BAD_ADDRESS] = "BAD_ADDRESS",
		[DEVMODEL_STATUS_BAD_ARGUMENT] = "BAD_ARGUMENT",
		[DEVMODEL_STATUS_NO_CONTEXT] = "NO_CONTEXT",
		[DEVMODEL_STATUS_NO_PROGRAM] = "NO_PROGRAM",
		[DEVMODEL_STATUS_FAULT] = "FAULT",
		[DEVMODEL_STATUS_KILLED] = "KILLED",
		[DEVMODEL_STATUS_PROGRAM_ERROR] = "PROGRAM_ERROR",
	};

	if (status == DEVMODEL_STATUS_PENDING)
		return "PENDING";
	return name_of(names, COUNT(names), status);
}

const char *devmodel_outcome_name(enum devmodel_outcome outcome)
{
	static const char *const names[] = {
		[DEVMODEL_OUTCOME_MOVED] = "MOVED",
		[DEVMODEL_OUTCOME_ALREADY_THERE] = "ALREADY_THERE",
		[DEVMODEL_OUTCOME_NOT_MIGRATABLE] = "NOT_MIGRATABLE",
		[DEVMODEL_OUTCOME_NO_MEMORY] = "NO_MEMORY",
		[DEVMODEL_OUTCOME_COPY_FAILED] = "COPY_FAILED",
		[DEVMODEL_OUTCOME_BUSY] = "BUSY",
		[DEVMODEL_OUTCOME_LOST] = "LOST",
	};

	return name_of(names, COUNT(names), outcome);
}

const char *devmodel_place_name(enum devmodel_place place)
{
	static const char *const names[] = {
		[DEVMODEL_PLACE_NONE] = "none",
		[DEVMODEL_PLACE_SYSTEM] = "system",
		[DEVMODEL_PLACE_HBM] = "hbm",
		[DEVMODEL_PLACE_OTHER_DEVICE] = "other device",
		[DEVMODEL_PLACE_ZERO_PAGE] = "zero page",
	};

	return name_of(names, COUNT(names), place);
}

int devmodel_open(const char *path)
{
	int dev;

	if (!path)
		path = getenv("DEVMODEL_DEVICE");
	if (!path)
		path = DEVMODEL_DEFAULT_PATH;
	dev = open(path, O_RDWR | O_CLOEXEC);
	if (dev >= 0)
		return dev;
	switch (errno) {
	case ENOENT:
		return failed("%s: no such device; is the driver loaded (modprobe devmodel)?",
			      path);
	case EBUSY:
		return failed("%s: this process has it open already", path);
	case EAGAIN:
		return failed("%s: this process's memory is busy; try again", path);
	case EMFILE:
		return failed("%s: this user has as many contexts as one may have", path);
	case ENOSPC:
		return failed("%s: the device has no more contexts", path);
	case EIO:
	case ENODEV:
		return failed("%s: the device does not answer; see dmesg", path);
	default:
		return failed("%s: %s", path, strerror(errno));
	}
}

void devmodel_close(int dev)
{
	close(dev);
}

/* What an errno of any request means; NULL if it is the request's own affair. */
static const char *general(int error)
{
	switch (error) {
	case EPERM:
		return "this process did not open the device: open it again after fork() or exec()";
	case ENODEV:
		return "the device was taken away";
	case EIO:
		return "the device does not answer, or began a new life: start again; see dmesg";
	case ENOTTY:
	case EBADF:
		return "not a devmodel device";
	default:
		return NULL;
	}
}

static int refused(const char *what, const char *why)
{
	const char *reason = general(errno);

	return failed("%s: %s", what, reason ? reason : why ? why : strerror(errno));
}

int devmodel_info(int dev, struct devmodel_info *info)
{
	return ioctl(dev, DEVMODEL_IOC_INFO, info) ? refused("info", NULL) : 0;
}

int devmodel_stats(int dev, struct devmodel_stats *stats)
{
	return ioctl(dev, DEVMODEL_IOC_STATS, stats) ? refused("stats", NULL) : 0;
}

int64_t devmodel_launch_v(int dev, const char *program, unsigned int nargs,
			  const uint64_t *args)
{
	struct devmodel_launch launch = { .nargs = nargs };

	if (!*program || strlen(program) >= sizeof(launch.program)) {
		errno = ENOENT;
		return failed("no device program named '%s'", program);
	}
	if (nargs > DEVMODEL_MAX_ARGS) {
		errno = EINVAL;
		return failed("%s: %u arguments are too many, %d is the limit", program, nargs,
			      DEVMODEL_MAX_ARGS);
	}
	memcpy(launch.program, program, strlen(program));
	if (nargs)
		memcpy(launch.args, args, nargs * sizeof(*args));
	if (!ioctl(dev, DEVMODEL_IOC_LAUNCH, &launch))
		return launch.handle;
	return refused(program,
		       errno == EAGAIN ? "too many programs are running; wait for one" : NULL);
}

/* Wait, and explain a failure in the name of @what. */
static int wait_for(int dev, const char *what, int64_t handle, unsigned int timeout_ms,
		    struct devmodel_wait *end)
{
	*end = (struct devmodel_wait) {
		.handle = handle,
		.timeout_ms = timeout_ms,
		.status = DEVMODEL_STATUS_PENDING,
	};
	if (!ioctl(dev, DEVMODEL_IOC_WAIT, end))
		return 0;
	switch (errno) {
	case ENOENT:
		end->status = DEVMODEL_STATUS_NO_PROGRAM;
		return failed("no device program named '%s'", what);
	case EINVAL:
		end->status = DEVMODEL_STATUS_BAD_ARGUMENT;
		return failed("%s: does not take these arguments", what);
	case ETIME:
		return failed("%s: still running after %u ms", what, timeout_ms);
	case ESRCH:
		return failed("%s: no launch has the handle %lld", what, (long long)handle);
	default:
		return refused(what, NULL);
	}
}

int devmodel_wait(int dev, int64_t handle, unsigned int timeout_ms,
		  struct devmodel_wait *end)
{
	return wait_for(dev, "(launched earlier)", handle, timeout_ms, end);
}

int devmodel_run_v(int dev, struct devmodel_wait *end, const char *program,
		   unsigned int nargs, const uint64_t *args)
{
	static const struct {
		const char *name, *lacks;
	} access[4] = {
		[DEVMODEL_ACCESS_READ] = { "read", "mapped or not readable" },
		[DEVMODEL_ACCESS_WRITE] = { "write", "mapped or not writable" },
		[DEVMODEL_ACCESS_ATOMIC] = { "atomic", "writable memory that a device can have alone" },
		[DEVMODEL_ACCESS_POISON] = { "access", "whole any more: this HBM failed" },
	};
	int64_t handle;

	*end = (struct devmodel_wait) { .status = DEVMODEL_STATUS_PENDING };
	handle = devmodel_launch_v(dev, program, nargs, args);
	if (handle < 0)
		return -1;
	if (wait_for(dev, program, handle, DEVMODEL_RUN_MS, end))
		return -1;
	switch (end->status) {
	case DEVMODEL_STATUS_OK:
		return 0;
	case DEVMODEL_STATUS_FAULT:
		errno = EFAULT;
		return failed("%s: address 0x%llx is not %s (device %s fault)", program,
			      (unsigned long long)end->fault_address,
			      access[end->fault_access % 3].lacks,
			      access[end->fault_access % 3].name);
	case DEVMODEL_STATUS_KILLED:
		errno = EIO;
		return failed("%s: stopped by the driver", program);
	case DEVMODEL_STATUS_PROGRAM_ERROR:
		errno = EIO;
		return failed("%s: the program raised an error; see the device's log", program);
	default:
		errno = EIO;
		return failed("%s: ended with %s", program, devmodel_status_name(end->status));
	}
}

static const char *range_why(void)
{
	switch (errno) {
	case EINVAL:
		return "the range must be whole pages of this process, the request a known one";
	case EOPNOTSUPP:
		return "this memory model has no device memory to migrate to";
	case EFAULT:
		return "the array for the answer is not writable";
	default:
		return NULL;
	}
}

int devmodel_migrate(int dev, const void *address, size_t length,
		     enum devmodel_target target, struct devmodel_migrate *done,
		     uint32_t *outcomes)
{
	struct devmodel_migrate request = {
		.address = (uintptr_t)address,
		.length = length,
		.target = target,
		.outcomes = (uintptr_t)outcomes,
	};

	if (ioctl(dev, DEVMODEL_IOC_MIGRATE, &request))
		return refused("migrate", range_why());
	if (done)
		*done = request;
	return 0;
}

int devmodel_advise(int dev, const void *address, size_t length,
		    enum devmodel_policy policy)
{
	struct devmodel_advise request = {
		.address = (uintptr_t)address,
		.length = length,
		.policy = policy,
	};

	return ioctl(dev, DEVMODEL_IOC_ADVISE, &request) ? refused("advise", range_why()) : 0;
}

int devmodel_snapshot(int dev, const void *address, size_t length, uint32_t *cpu,
		      uint32_t *device)
{
	struct devmodel_snapshot request = {
		.address = (uintptr_t)address,
		.length = length,
		.cpu = (uintptr_t)cpu,
		.device = (uintptr_t)device,
	};

	return ioctl(dev, DEVMODEL_IOC_SNAPSHOT, &request) ? refused("snapshot", range_why()) : 0;
}
