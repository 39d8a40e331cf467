# SPDX-License-Identifier: MIT
"""What all requests have in common: they are bytes to the driver. See abi.py."""

from __future__ import annotations

from struct import calcsize, pack, unpack_from
from typing import ClassVar


class Record:
    """The argument of a request."""

    REQUEST: ClassVar[int] = 0
    """what ioctl() calls it"""
    LAYOUT: ClassVar[dict[str, str]] = {}
    """each field's code, as `struct` has it; nothing lies between two"""

    def pack(self) -> bytearray:
        """It as bytes."""
        data = bytearray()
        for name, code in self.LAYOUT.items():
            value = getattr(self, name)
            data += pack("<" + code, *(value if isinstance(value, tuple) else (value,)))
        return data

    def read(self, data: bytearray) -> None:
        """Take every field from what `pack` gave and the driver wrote into."""
        offset = 0
        for name, code in self.LAYOUT.items():
            values = unpack_from("<" + code, data, offset)
            setattr(self, name, values if len(values) > 1 else values[0])
            offset += calcsize("<" + code)
