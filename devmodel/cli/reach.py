"""Getting at a guest that another process holds, and saying what it means if that fails."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devmodel.cli import detached
from devmodel.errors import CommandTimeout, DevmodelError
from devmodel.machine import ending, rundir
from devmodel.machine.rundir import VmInfo
from devmodel.machine.shell import GuestShell, ShellGone
from devmodel.machine.stream import ShellTimeout

ALIVE_SECONDS = 10.0


@contextlib.contextmanager
def shell(
    folder: Path, info: VmInfo, what: str = "it", seconds: float = 0.0
) -> Iterator[GuestShell]:
    """The shell of the guest in `folder`, closed at the end.

    Its failures come out as what they mean: CommandTimeout, of `what` after `seconds`, if the
    guest goes on, and else why it does not answer any more.
    """
    reached = GuestShell(info.port, (folder / rundir.KEY).read_bytes(), info.host_key.encode())
    try:
        yield reached
    except ShellGone as error:
        raise _explain(folder, error) from error
    except ShellTimeout as error:
        try:
            reached.run(["true"], timeout=ALIVE_SECONDS)
        except (ShellGone, ShellTimeout) as silent:
            raise _explain(folder, silent) from silent
        raise CommandTimeout(
            f"{what} did not end within {seconds:g} s",
            hint="it was killed; --timeout gives it longer",
            details=error.where,
        ) from error
    finally:
        reached.close()


def _explain(folder: Path, error: Exception) -> DevmodelError:
    """Why a guest that was running does not answer any more."""
    info = detached.settled(folder)
    how = None if info.state == "running" else (info.ending or "the VM was stopped")
    return ending.explain(str(error), folder / "console.log", ending=how)
