"""Room on the disk, looked at before it runs out."""

import os
from pathlib import Path

from devmodel import sizes
from devmodel.errors import HostNotReady

REMEDY = "make room (devmodel cache prune), or set DEVMODEL_CACHE to another disk"


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
