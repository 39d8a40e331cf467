"""Things built once and kept by the hash of what went into them.

An entry is a folder that appears whole, by rename, or not at all: a build that was killed
leaves only a ``.tmp`` folder, which the next builder of the same entry removes. A lock beside
it makes a second builder wait for the first, and then find the entry.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from devmodel import paths
from devmodel.build import disk
from devmodel.errors import HostNotReady


def key(**inputs: object) -> str:
    """16 hex digits that change whenever an input does. Inputs are JSON values."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_files(files: Iterable[Path], base: Path) -> str:
    """One hash of the files' names below `base`, their contents and whether they are executable."""
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        executable = os.access(path, os.X_OK)
        digest.update(f"{path.relative_to(base)}\0{len(data)}\0{executable}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def tree_files(folder: Path) -> list[Path]:
    """Every file below `folder` but hidden ones, sorted; none if there is no such folder."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def folder(kind: str, name: str) -> Path:
    """Where the entry `name` of `kind` lies, built or not."""
    return paths.cache() / kind / name


def size(path: Path) -> int:
    """Bytes that the files below `path` take on the disk; of a file with more names, its part."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = Path(folder, name).lstat()
                found += status.st_blocks * 512 // status.st_nlink
    return found


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """While it is entered, no other process is in here for the same `path`.

    `on_wait` is told if one is, and this one waits for it, however long that takes. HostNotReady
    if the cache cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = (path.parent / f".{path.name}.lock").open("w")
    except OSError as error:
        raise HostNotReady(
            f"{error.filename}: {error.strerror}", hint="set DEVMODEL_CACHE to a folder of yours"
        ) from error
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait(f"waiting for another process that builds {path}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_now(path: Path) -> Iterator[bool]:
    """As `locked`, but tells False instead of waiting."""
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def write(path: Path, text: str) -> None:
    """Replace a file at once: whoever reads it sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk.explained(path):
        temporary.write_text(text)
        temporary.rename(path)


def obtain(
    kind: str,
    name: str,
    build: Callable[[Path], None],
    *,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Path:
    """The entry's folder; `build(temporary folder)` fills it if it is not there yet.

    Errors of `build` pass through and leave no entry; its temporary folder stays for a look
    at its logs until the next try. While another process builds the same entry this one waits,
    however long that takes, after telling `on_wait` so.
    """
    entry = folder(kind, name)
    if entry.is_dir():
        return entry
    with disk.explained(entry), locked(entry, on_wait):
        if not entry.is_dir():
            temporary = entry.with_name(f".{name}.tmp")
            if temporary.exists():
                shutil.rmtree(temporary)
            temporary.mkdir()
            build(temporary)
            temporary.rename(entry)
    return entry
