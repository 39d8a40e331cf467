"""The folder of one VM: its description, logs and key; and which VMs are there.

::

    vms/<name>/
      vm.json      what it is: who holds it, port, configuration, times
      lock         held by the supervisor; free means that it is gone
      key          private key of the login; removed at the end
      qemu.argv    QEMU's command line
      gdb          the debugger's socket, with --gdb
      console.log dmesg qemu.log agent0.log ...    stay until the next VM of that name

Folder and files are their owner's, whatever the umask: who may write vm.json says what `stop` ends.

A VM is held by the process that supervises it. That is a keeper, which `devmodel start` made for
it and `devmodel stop` may end; or somebody's own program (a test, a notebook, `devmodel run`),
which ends its VM by itself and is never sent a signal.

A VM whose supervisor is gone is *stale*: `sweep` removes its key and marks it ended.
"""

import contextlib
import fcntl
import json
import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Self

from devmodel import paths
from devmodel.errors import ConfigError, DevmodelError, HostNotReady

REMEDY = "set DEVMODEL_STATE to another folder"
CAUSE_COLUMNS = 200
KEY = "key"
COMMAND = "qemu.argv"
# No more is known of a VM whose lock is free and which nobody marked as ended.
GONE = "the process that held it is gone"


@dataclass(frozen=True)
class VmInfo:
    """What vm.json says."""

    name: str
    pid: int
    state: str
    """starting, running or ended"""
    port: int = 0
    host_key: str = ""
    config: str = ""
    kernel: str = ""
    accelerator: str = ""
    qemu: str = ""
    """its version"""
    started: float = 0.0
    """seconds since the epoch"""
    ending: str = ""
    exit_code: int = 0
    """what the ending is worth as an exit code; see errors.py"""
    lost_devices: tuple[int, ...] = ()
    restarts: tuple[int, ...] = ()
    """of each device's agent; its generation is one more"""
    regions: tuple[int, ...] = ()
    """of each device: the descriptor of BAR 2 in the process that holds the VM"""
    keeper: bool = False
    """`pid` is a keeper's, and devmodel's to end; VMs of others are found by name only"""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From vm.json, which another version may have written. ValueError, TypeError."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in names})

    def ended(self, cause: BaseException | None) -> Self:
        """The same after the end, with what caused it."""
        code = int(cause.exit_code) if isinstance(cause, DevmodelError) else 0
        return replace(self, state="ended", ending=_words(cause), exit_code=code)

    @property
    def ours(self) -> bool:
        """Whether devmodel may end the process that holds it."""
        return self.keeper and any(
            "devmodel" in word and "keeper" in word for word in command_line(self.pid)
        )


def _words(cause: BaseException | None) -> str:
    """An end's cause in one line; none for an end as it should be."""
    match cause:
        case None:
            return ""
        case DevmodelError():
            return " ".join(str(cause).split())
        case KeyboardInterrupt():
            return "interrupted"
        case SystemExit():
            return "stopped"
        case _:
            return textwrap.shorten(f"{type(cause).__name__}: {cause}", CAUSE_COLUMNS)


class RunDir:
    """A VM's folder, held by this process as long as the object is open."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, name: str) -> "RunDir":
        """The folder of `name`, or of `name`-2, -3 ... while that is another running VM's.

        Logs of an earlier VM in it are removed.
        """
        for number in range(1, 1000):
            path = paths.vms() / (name if number == 1 else f"{name}-{number}")
            with explained(path):
                _own_folder(path)
                lock = _try_lock(path)
                if lock is not None:
                    for old in path.iterdir():
                        if old.name != "lock":
                            old.unlink()
                    return cls(path, lock)
        raise ConfigError(f"too many VMs are called {name}", hint="devmodel ps shows them")

    @property
    def name(self) -> str:
        """The VM's name, unique among those that run."""
        return self.path.name

    @property
    def gdb(self) -> Path:
        """The debugger's socket, where there is one."""
        return self.path / "gdb"

    def write_key(self, key: bytes) -> None:
        """Keep the login key, for its owner only."""
        _write(self.path / "key", key)

    def write_command(self, line: Sequence[str]) -> None:
        """Keep QEMU's command line, to be read beside what QEMU says."""
        _write(self.path / COMMAND, f"{shlex.join(line)}\n".encode())

    def write(self, info: VmInfo) -> None:
        """Replace vm.json, whole."""
        write_info(self.path, info)

    def close(self) -> None:
        """Remove what only a running VM needs, and let go."""
        (self.path / KEY).unlink(missing_ok=True)
        self.gdb.unlink(missing_ok=True)
        self._lock.close()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what a disk refuses while something of a VM's is kept in `path` into HostNotReady."""
    try:
        yield
    except OSError as error:
        raise HostNotReady(f"{error.filename or path}: {error.strerror}", hint=REMEDY) from error


def _own_folder(path: Path) -> None:
    """Make a VM's folder, or take the one that is there, so that nobody else can look into it."""
    # What is above may be a folder of the user's, as /tmp: it is left as it is.
    paths.state().mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (paths.vms(), path):
        folder.mkdir(mode=0o700, exist_ok=True)
        # An earlier version left the mode to the umask.
        folder.chmod(0o700)


def _open(path: Path) -> int:
    """A descriptor of an empty file that is its owner's alone."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.fchmod(fd, 0o600)
    return fd


def _write(path: Path, data: bytes) -> None:
    with explained(path), os.fdopen(_open(path), "wb") as file:
        file.write(data)


def _try_lock(path: Path) -> IO[str] | None:
    lock = os.fdopen(_open(path / "lock"), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def write_info(folder: Path, info: VmInfo) -> None:
    """Replace vm.json in `folder`, whole."""
    temporary = folder / ".vm.json"
    _write(temporary, f"{json.dumps(asdict(info), indent=1)}\n".encode())
    temporary.replace(folder / "vm.json")


def read_info(folder: Path) -> VmInfo | None:
    """What vm.json in `folder` says; None if there is none that can be read."""
    try:
        return VmInfo.parse((folder / "vm.json").read_text())
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def command_line(pid: int) -> list[str]:
    """The words that a process was started with; none if there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def everything() -> Iterator[tuple[Path, VmInfo]]:
    """All VMs with a folder, swept: stale ones are marked as ended, their keys removed."""
    try:
        folders = sorted(paths.vms().iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostNotReady(f"{paths.vms()}: {error.strerror}", hint=REMEDY) from error
    for path in folders:
        info = read_info(path)
        if info is None:
            continue
        if info.state != "ended" and (lock := _try_lock(path)) is not None:
            with lock:
                # It may have ended since, and said why.
                info = read_info(path) or info
                if info.state != "ended":
                    (path / KEY).unlink(missing_ok=True)
                    info = replace(info, state="ended", ending=GONE)
                    write_info(path, info)
        yield path, info


def running(name: str | None) -> tuple[Path, VmInfo]:
    """The running VM called `name`, or the only one of a keeper's. ConfigError if there is none."""
    found = [(path, info) for path, info in everything() if info.state == "running"]
    if name is None:
        found = [(path, info) for path, info in found if info.keeper]
    names = ", ".join(info.name for _, info in found)
    if name is not None:
        for path, info in found:
            if info.name == name:
                return path, info
        hint = f"running: {names}" if found else "devmodel start starts one"
        raise ConfigError(f"no running VM is called {name}", hint=hint)
    if not found:
        raise ConfigError("no VM is running", hint="devmodel start starts one")
    if len(found) > 1:
        raise ConfigError("more than one VM is running", hint=f"name one of {names}")
    return found[0]
