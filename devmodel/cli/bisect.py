"""`devmodel run --bisect`: exit codes as `git bisect run` reads them.

====  =======================  =================================================================
0     good                     the command ended with 0, and the kernel had nothing to complain of
1-124 bad                      the command's own, or 1: a signal, a panic, an oops, a hang, a boot
                               that did not end
125   cannot be tested         the kernel does not build, the driver does not build against it, or
                               an option is missing that a guest needs
>127  the bisection ends       this machine failed, or the command line is wrong: what would be
                               said of the kernel would be a lie
====  =======================  =================================================================

It is a flag of `run`, and no command of its own: what is bisected with is what was tried by hand.
"""

import sys
import traceback
from collections.abc import Callable, Sequence

from devmodel.errors import (
    BootTimeout,
    CommandTimeout,
    ConfigError,
    DevmodelError,
    GuestHang,
    GuestOops,
    GuestPanic,
    KernelBroken,
    KernelUnfit,
)
from devmodel.machine.config import MachineConfig

OPTION = "--bisect"
BAD = 1
SKIP = 125
# A shell says so of what it cannot run: that is no fault of the kernel's.
NOT_RUN = (126, 127)
STOP = 128
UNEXPECTED = 255


def made(config: MachineConfig, command: Sequence[str]) -> MachineConfig:
    """The machine with its tree to be made first. ConfigError if there is none, or no command."""
    if config.kernel.tree is None:
        raise ConfigError(
            f"{OPTION}: no kernel tree", hint="name it instead of CONFIG, or with --kernel"
        )
    if not command:
        raise ConfigError(f"{OPTION}: no command tells good from bad", hint="write it after --")
    kernel = config.kernel.model_copy(update={"make": True})
    return config.model_copy(update={"kernel": kernel})


def of_command(code: int) -> int:
    """What a guest's command that ended with `code` means."""
    if code in NOT_RUN:
        return STOP + code
    return BAD if code >= SKIP else code


def of_error(error: DevmodelError) -> int:
    """What an error means."""
    if isinstance(error, KernelUnfit | KernelBroken):
        return SKIP
    if isinstance(error, GuestPanic | GuestOops | GuestHang | CommandTimeout | BootTimeout):
        return BAD
    code = int(error.exit_code)
    return code if code >= STOP else STOP + code


def ended(work: Callable[[], int]) -> int:
    """`work`'s exit code. A mistake in the command line, or here, says nothing of a kernel."""
    try:
        return work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else UNEXPECTED
        return code if code == 0 or code >= STOP else STOP + code
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return UNEXPECTED
