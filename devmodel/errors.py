"""What can go wrong, by meaning, and the exit code of each.

::

    DevmodelError
    ├── ConfigError         2   the user asked for something impossible; one line names the remedy
    │   └── KernelUnfit         a kernel without an option that a guest needs
    ├── HostNotReady        3   the host lacks a package, disk, memory or a program
    ├── BuildFailed         4   a kernel, driver, program or image build ended badly
    ├── CopyFailed          1   files could not go to or from a guest
    ├── LaunchFailed        5   QEMU or an agent ended before the guest was ready
    │   └── BootTimeout     6   the guest was not ready in time
    └── GuestError              the guest was up, and then:
        ├── CommandTimeout 124  a command ran too long; the guest still answers
        ├── GuestPanic     250  the kernel panicked
        ├── GuestOops      251  BUG, oops, WARNING, KASAN, lockdep or RCU stall in the console
        ├── GuestHang      252  the guest stopped answering
        ├── DeviceLost     253  a device agent died or was lost
        └── MachineLost    255  QEMU ended, and the console does not say why

`devmodel run` passes the guest command's own exit code through, so 2-6 may also be the guest's;
an error of devmodel's own always comes with a line ``devmodel: …`` on stderr. 255 for a guest
that is gone is virtme-ng's and ssh's convention.
"""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of the command line; see the module's docstring."""

    OK = 0
    FAILED = 1
    CONFIG = 2
    HOST = 3
    BUILD = 4
    LAUNCH = 5
    BOOT_TIMEOUT = 6
    COMMAND_TIMEOUT = 124
    PANIC = 250
    OOPS = 251
    HANG = 252
    DEVICE_LOST = 253
    MACHINE_LOST = 255


class DevmodelError(Exception):
    """An expected failure: shown as one line and a hint, without a traceback."""

    exit_code = ExitCode.LAUNCH

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        """Lines that show the cause: the end of a log, a compiler's complaint."""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(DevmodelError):
    """The user's mistake: one line that names what, where and the remedy."""

    exit_code = ExitCode.CONFIG


class KernelUnfit(ConfigError):
    """A kernel that is not configured for what is asked of it."""


class HostNotReady(DevmodelError):
    """The host cannot do this yet."""

    exit_code = ExitCode.HOST


class BuildFailed(DevmodelError):
    """A build ended badly. `details` holds the end of its log, `log` the path to all of it."""

    exit_code = ExitCode.BUILD

    def __init__(self, message: str, *, hint: str = "", details: str = "", log: Path | None = None):
        super().__init__(message, hint=hint, details=details)
        self.log = log


class KernelBroken(BuildFailed):
    """A kernel of the user's that does not build, or that the driver does not build against."""


class LaunchFailed(DevmodelError):
    """QEMU or an agent ended before the guest was ready."""

    exit_code = ExitCode.LAUNCH


class BootTimeout(LaunchFailed):
    """The guest did not become ready in time."""

    exit_code = ExitCode.BOOT_TIMEOUT


class CopyFailed(DevmodelError):
    """Files could not go to or from a guest that is well."""

    exit_code = ExitCode.FAILED


class GuestError(DevmodelError):
    """Something happened to a guest that was up."""

    exit_code = ExitCode.MACHINE_LOST


class CommandTimeout(GuestError):
    """A command did not end in time; it was killed, and the guest goes on."""

    exit_code = ExitCode.COMMAND_TIMEOUT


class GuestPanic(GuestError):
    """The guest's kernel panicked."""

    exit_code = ExitCode.PANIC


class GuestOops(GuestError):
    """The guest's kernel complained about itself."""

    exit_code = ExitCode.OOPS


class GuestHang(GuestError):
    """The guest does not answer any more."""

    exit_code = ExitCode.HANG


class DeviceLost(GuestError):
    """A device's agent is gone; its region says LOST."""

    exit_code = ExitCode.DEVICE_LOST


class MachineLost(GuestError):
    """QEMU ended without the console saying why."""

    exit_code = ExitCode.MACHINE_LOST
