"""Dying with the parent, so that a SIGKILL of the supervisor leaves nothing running.

Also a program of its own, to be put before a command that cannot do this by itself::

    python -I -S lifeline.py PARENT_PID COMMAND [ARGUMENT ...]

Standard library only, and little of it: this runs before every QEMU. Linux sends the signal when
the *thread* that started the child ends, so children are started from a thread that lives as
long as they may.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when `parent` ends.

    SystemExit if it has ended already: then nobody would send it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit("the parent process is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
