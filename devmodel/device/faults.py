"""Mistakes that a device can be told to make, so that the coherence oracle is seen to work.

The one table of knobs: a machine's description names them under ``devices: - faults:``, and
docs/device.md explains them. All are off at 0.
"""

from __future__ import annotations

import numpy as np
from pydantic import StrictInt, model_validator

from devmodel.abi.pagetable import BUS_OFFSET
from devmodel.description import Strict
from devmodel.device.memory import HBM_BASE, Addresses, Mask, Memory, Piece, are_local, is_local


class Faults(Strict):
    """What goes wrong, and how often. `ValueError` says what cannot be."""

    lost_invalidate: StrictInt = 0
    """every Nth invalidate is acknowledged and not done"""
    late_invalidate: StrictInt = 0
    """invalidates are done N steps after they were acknowledged"""
    lost_dirty: StrictInt = 0
    """every Nth page that is to become DIRTY does not"""
    stuck_address_line: StrictInt = 0
    """bit N of every offset in this device's own HBM reads as 0"""
    failing_page: StrictInt = 0
    """page N of this device's own HBM (4 KiB) fails once something has been copied there"""

    @model_validator(mode="after")
    def _possible(self) -> Faults:
        for name, value in self:
            if value < 0:
                raise ValueError(f"{name} is {value}: must be 0 or more")
        if self.stuck_address_line and not 12 <= self.stuck_address_line < 52:
            raise ValueError(
                f"stuck_address_line is {self.stuck_address_line}: must be 12 to 51, or 0"
            )
        return self


NO_FAULTS = Faults()


class EveryNth:
    """Says yes to the Nth, 2Nth, ... of what it is asked about; to nothing if N is 0."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._seen = 0

    def one(self) -> bool:
        """Whether the next one is it."""
        return bool(self._n) and bool(self.many(1)[0])

    def many(self, count: int) -> Mask:
        """Which of the next `count` are it. N must not be 0."""
        numbers = np.arange(self._seen + 1, self._seen + 1 + count)
        self._seen += count
        mask: Mask = numbers % self._n == 0
        return mask


class StuckMemory(Memory):
    """Memory whose controller sees bit `line` of an offset in its own HBM as 0.

    Two frames are one then, wherever the address comes from: MMU or copy engine.
    """

    line = 0

    def place(self, bus: int) -> int:
        return bus & ~(1 << self.line) if is_local(bus) else bus

    def places(self, bus: Addresses) -> Addresses:
        stuck = bus & np.uint64((HBM_BASE | BUS_OFFSET) & ~(1 << self.line))
        return np.where(are_local(bus), stuck, bus)

    def find(self, bus: int, length: int) -> tuple[Piece, int]:
        return super().find(self.place(bus), length)

    def read_word(self, bus: int) -> int:
        return super().read_word(self.place(bus))

    def _split(self, bus: Addresses, length: int) -> list[tuple[Piece, Addresses, Mask | None]]:
        return super()._split(self.places(bus), length)
