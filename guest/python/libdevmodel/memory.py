# SPDX-License-Identifier: MIT
"""Memory of this process, as Python's objects hold it, and where it lies."""

from __future__ import annotations

import os
import struct
from array import array
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Whole pages, zeros at first: what can be migrated, advised on and looked at.

    It must live as long as a program works on it.
    """

    def __init__(self, length: int) -> None:
        """`length` bytes, rounded up to pages."""
        self.length = -(-length // PAGE) * PAGE
        self._array = array("B", (0,)) * (self.length + PAGE)
        start, _ = self._array.buffer_info()
        self.address = -(-start // PAGE) * PAGE
        self.view = memoryview(self._array)[self.address - start :][: self.length]
        """its bytes, to read and write; `view.cast("Q")` are its u64 words"""


def word(argument: Any) -> int:
    """What a program gets for an argument: an integer in two's complement, or an address.

    An address is that of a `Memory`, an array.array or a numpy array. TypeError for what is none.
    """
    if isinstance(argument, int):
        return argument & 0xFFFF_FFFF_FFFF_FFFF
    if isinstance(argument, Memory):
        return argument.address
    if isinstance(argument, array):
        return argument.buffer_info()[0]
    interface = getattr(argument, "__array_interface__", None)
    if interface is not None:
        return int(interface["data"][0])
    if isinstance(argument, float):
        raise TypeError(f"a program takes integers and memory; float_bits({argument}) is one")
    raise TypeError(f"a program takes integers and memory, not {type(argument).__name__}")


def float_bits(value: float) -> int:
    """A float as the argument of a program that says it takes a float's bits."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
