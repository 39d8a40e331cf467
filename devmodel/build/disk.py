"""Room on the disk, looked at before it runs out, and told in a line when it does."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from devmodel import sizes
from devmodel.errors import HostNotReady

REMEDY = "make room (devmodel cache prune), or set DEVMODEL_CACHE to another disk"

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def free(path: Path) -> int:
    """Free bytes where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def require(path: Path, needed: int, what: str) -> None:
    """HostNotReady if there is less than `needed` free at `path`."""
    there = free(path)
    if there < needed:
        raise HostNotReady(
            f"{what} needs {sizes.rounded(needed)} in {path}, and {sizes.rounded(there)} are free",
            hint=REMEDY,
        )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what a disk may refuse while `path` is written into a HostNotReady that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise HostNotReady(f"{error.filename or path}: {error.strerror}", hint=REMEDY) from error
