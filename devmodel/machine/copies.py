"""Files and folders to and from a guest: a tar archive over its shell, made and read on the way.

What comes from a guest is not trusted: everything lies below what was asked for, or is refused
(`tarfile.data_filter`). Modes and times are kept, owners are not: in the guest all is root's, and
here it is whoever copies.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from devmodel.errors import ConfigError, CopyFailed, HostNotReady
from devmodel.machine.shell import GuestShell

Advance = Callable[[int], None]
"""gets bytes as they go"""

PERMISSIONS = 0o777
# Words of the guest's shell: is $1 a folder to copy into, or the name for what is copied?
_LOOK = """\
if [ -d "$1" ]; then echo into
elif [ "$2" = into ] && mkdir -p "$1"; then echo into
elif [ "$2" = either ] && [ -d "$(dirname "$1")" ]; then echo "as"
else echo "no folder ${1%/*}" >&2; exit 1; fi
"""
# Where $1 is without links, and its KiB.
_FIND = """\
[ "$1" != / ] || { echo "this is everything: name a file or folder in it" >&2; exit 1; }
[ -e "$1" ] || { echo "no such file or folder" >&2; exit 1; }
readlink -f "$1" && du -sk "$1/." 2>/dev/null || du -sk "$1"
"""


def size(source: Path) -> int:
    """Bytes of the files in it. ConfigError if there is no such file or folder."""
    if not source.exists():
        raise ConfigError(f"put: no file or folder {source}", hint="name one that is there")
    if not source.is_dir():
        return source.stat().st_size
    found = 0
    for folder, _, names in os.walk(source):
        for name in names:
            with contextlib.suppress(OSError):
                found += Path(folder, name).lstat().st_size
    return found


def put(
    shell: GuestShell,
    sources: Sequence[Path],
    target: str,
    *,
    timeout: float,
    advance: Advance = lambda _: None,
) -> None:
    """Copy into the guest's folder `target`, or, where that is none, one source by that name.

    CopyFailed if the guest refuses, or a source cannot be read; ShellGone, ShellTimeout.
    """
    several = len(sources) > 1 or target.endswith("/")
    words = ["sh", "-c", _LOOK, "sh", target, "into" if several else "either"]
    looked = shell.run(words, timeout=timeout)
    if looked.exit_code:
        raise CopyFailed(f"{target}: {_last(looked.stderr)}", hint="make it first, in the guest")
    into = looked.stdout.strip() == "into"
    place = PurePosixPath(target)
    names = [path.resolve().name for path in sources] if into else [place.name]
    folder = place if into else place.parent

    def write(pipe: IO[bytes]) -> None:
        counted = cast(IO[bytes], _Counted(pipe, advance))
        with tarfile.open(fileobj=counted, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for path, name in zip(sources, names, strict=True):
                archive.add(path.resolve(), name, filter=_roots)

    with _piped(write, reads=False) as end:
        done = shell.run(["tar", "-xpf", "-", "-C", str(folder)], stdin=end.fd, timeout=timeout)
        end.close()
    # What a source is cut short by explains what the guest says of the archive.
    if isinstance(end.error, OSError) and not isinstance(end.error, BrokenPipeError):
        raise CopyFailed(f"{end.error.filename or sources[0]}: {end.error.strerror or end.error}")
    if done.exit_code:
        raise CopyFailed(f"{target}: the guest says: {_last(done.stderr)}")


def find(shell: GuestShell, source: str, *, timeout: float) -> tuple[str, int]:
    """Where the guest has `source`, without links, and about how many bytes that are.

    CopyFailed if there is none.
    """
    looked = shell.run(["sh", "-c", _FIND, "sh", source], timeout=timeout)
    if looked.exit_code:
        raise CopyFailed(f"{source}: {_last(looked.stderr)}")
    path, _, counted = looked.stdout.rstrip("\n").rpartition("\n")
    return path, int(counted.split()[0]) << 10


def get(
    shell: GuestShell,
    source: str,
    target: Path,
    *,
    timeout: float,
    advance: Advance = lambda _: None,
    path: str = "",
) -> None:
    """Copy the guest's `source` into the folder `target`, or, where that is none, by that name.

    `path` is what `find` gave, if it was asked. CopyFailed if it cannot be read or written, if a
    part of it was left out, or if the guest sends what was not asked for; ShellGone, ShellTimeout.
    """
    if not hasattr(tarfile, "data_filter"):
        raise HostNotReady(
            "this Python unpacks archives without looking at them",
            hint="use Python 3.11.4 or newer to copy from a guest",
        )
    path = path or find(shell, source, timeout=timeout)[0]
    place = PurePosixPath(path)
    called = PurePosixPath(source).name
    into = target.is_dir()
    if not into and not target.parent.is_dir():
        raise ConfigError(f"get: no folder {target.parent}", hint="make it first")
    name = (place.name if called in ("", "..") else called) if into else target.name
    folder = target if into else target.parent
    arrival = _Arrival(place.name, name, folder)

    def read(pipe: IO[bytes]) -> None:
        counted = cast(IO[bytes], _Counted(pipe, advance))
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            archive.extractall(folder, filter=arrival.check)
            # Or the guest's tar would be ended by what it writes to nobody.
            while counted.read(tarfile.RECORDSIZE):
                pass

    words = ["tar", "-cf", "-", "-C", str(place.parent), f"./{place.name}"]
    with _piped(read, reads=True) as end:
        try:
            done = shell.run(words, stdout=cast(io.BufferedIOBase, end), timeout=timeout)
        except _Unwanted:
            done = None
        end.close()
    if isinstance(end.error, tarfile.FilterError):
        raise CopyFailed(f"{source}: the guest sent what was not asked for: {end.error}")
    if isinstance(end.error, OSError):
        name = str(end.error.filename or target)
        raise CopyFailed(f"{name}: {end.error.strerror or end.error}")
    if done is not None and done.exit_code:
        raise CopyFailed(f"{source}: the guest says: {_last(done.stderr)}")
    if end.error is not None:
        raise CopyFailed(f"{source}: the guest sent no archive: {end.error}")
    if arrival.left_out:
        shown = ", ".join(arrival.left_out[:3]) + ", ..." * (len(arrival.left_out) > 3)
        raise CopyFailed(f"{source}: copied, but for {shown}", hint="these are no files to copy")


@dataclass
class _Arrival:
    """What comes from a guest: `top` and what is below it, to be called `name` in `folder`."""

    top: str
    name: str
    folder: Path
    left_out: list[str] = field(default_factory=list)
    """what is no file, and links that lead elsewhere"""

    def check(self, member: tarfile.TarInfo, _: str) -> tarfile.TarInfo | None:
        """The member as it is unpacked; None if it is left out. FilterError if it is refused."""
        rest = self._rest(member.name)
        # Not beside what was asked for, either: the filter's folder is that, where it is one.
        base = str(self.folder / self.name if rest else self.folder)
        if rest is None or not (rest or member.isfile() or member.isdir()):
            raise tarfile.OutsideDestinationError(member, base)
        changed = member.replace(name=rest or self.name, deep=False)
        if member.islnk():
            # A second name of a file that came before, as the archive calls it.
            changed = changed.replace(linkname=self._rest(member.linkname) or "..", deep=False)
        try:
            safe = tarfile.data_filter(changed, base)
        except (
            tarfile.SpecialFileError,
            tarfile.AbsoluteLinkError,
            tarfile.LinkOutsideDestinationError,
        ):
            self.left_out.append(member.name.removeprefix("./"))
            return None
        assert safe is not None
        if rest:
            safe = safe.replace(name=f"{self.name}/{rest}", deep=False)
        if member.islnk():
            safe = safe.replace(linkname=f"{self.name}/{safe.linkname}", deep=False)
        # The filter's modes are for archives of strangers' programs: here they are kept.
        return safe if member.issym() else safe.replace(mode=member.mode & PERMISSIONS, deep=False)

    def _rest(self, name: str) -> str | None:
        """A name in the archive, below what was asked for; None if it is not there."""
        first, _, rest = name.removeprefix("./").partition("/")
        return None if first != self.top or ".." in rest.split("/") else rest


class _Unwanted(Exception):
    """Whoever reads has stopped; not an OSError, which would be the connection's."""


class _End:
    """This side's end of a pipe, with somebody at the other; `error` is what ended that."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def attach(self, thread: threading.Thread) -> None:
        """`thread` is at the other end."""
        self._thread = thread
        thread.start()

    def write(self, data: bytes) -> None:
        """All of `data`. _Unwanted if nobody reads it."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except BrokenPipeError as error:
            raise _Unwanted from error

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """No more; wait for the other end."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._thread is not None:
            self._thread.join()


@contextlib.contextmanager
def _piped(work: Callable[[IO[bytes]], None], *, reads: bool) -> Iterator[_End]:
    """A pipe with `work` at its other end, in a thread; this side's is closed at the end."""
    out, into = os.pipe()
    theirs, ours = (out, into) if reads else (into, out)
    end = _End(ours)

    def run() -> None:
        try:
            with os.fdopen(theirs, "rb" if reads else "wb") as pipe:
                work(pipe)
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            end.error = error

    end.attach(threading.Thread(target=run, name="devmodel-copy", daemon=True))
    try:
        yield end
    finally:
        end.close()


class _Counted:
    """A pipe that tells of the bytes that go through it."""

    def __init__(self, pipe: IO[bytes], advance: Advance) -> None:
        self._pipe = pipe
        self._advance = advance

    def read(self, count: int) -> bytes:
        """As a file's."""
        data = self._pipe.read(count)
        self._advance(len(data))
        return data

    def write(self, data: bytes) -> int:
        """As a file's."""
        self._advance(len(data))
        return self._pipe.write(data)


def _roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _last(said: str) -> str:
    """The last line of what the guest complained of."""
    return (said.strip().splitlines() or ["nothing"])[-1]
