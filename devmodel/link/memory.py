"""Shared memory without a name: a memfd, mapped as bytes.

A memfd dies with the last process that holds it, so nothing is left behind after any end.
"""

import contextlib
import mmap
import os

import numpy as np
from numpy.typing import NDArray

from devmodel.description import Strict

Bytes = NDArray[np.uint8]


def create(name: str, size: int) -> int:
    """A new memfd of `size` bytes, all zero; `name` is for /proc only. Pages come on first touch.

    OSError if the kernel refuses the size. The caller owns the descriptor.
    """
    fd = os.memfd_create(f"devmodel-{name}", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def attach(fd: int) -> Bytes:
    """All of `fd` as a writable uint8 array of shape (size,), shared with every other mapping.

    The array keeps the mapping alive; `fd` may be closed. ValueError for an empty file.
    """
    mapping = mmap.mmap(fd, os.fstat(fd).st_size)
    # 2 MiB pages where the host gives them: a device sweeps over all of this.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without THP
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, dtype=np.uint8)


class Window(Strict):
    """`size` bytes at `offset` of a descriptor that is open, or inherited."""

    fd: int
    offset: int
    size: int

    def empty(self) -> None:
        """Give the memory back to the host, whoever maps it; it reads as zero then."""
        with mmap.mmap(self.fd, os.fstat(self.fd).st_size) as mapping:
            mapping.madvise(mmap.MADV_REMOVE, self.offset, self.size)

    def attach(self) -> Bytes:
        """The bytes, as a writable uint8 array of shape (size,); see `attach`."""
        return attach(self.fd)[self.offset : self.offset + self.size]
