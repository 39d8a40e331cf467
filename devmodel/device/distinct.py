"""Distinct numbers of an array that lie close together, as addresses mostly do.

Marking them in a bitmap beats sorting them by far; numbers that are far apart are sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devmodel.device.memory import Addresses

# Bits of bitmap a number that are worth it: measured, a sort costs about as much as 30.
_SPREAD = 16


def distinct(numbers: Addresses) -> Addresses:
    """The distinct numbers, ascending. Shape (n,) to (k,)."""
    if not numbers.size:
        return numbers
    near = _Bitmap.of(numbers)
    return np.unique(numbers) if near is None else near.numbers()


def distinct_places(numbers: Addresses) -> tuple[Addresses, NDArray[np.intp]]:
    """The distinct numbers, ascending, and the place of each of `numbers` among them."""
    if not numbers.size:
        return numbers, np.empty(0, dtype=np.intp)
    near = _Bitmap.of(numbers)
    if near is None:
        return np.unique(numbers, return_inverse=True)
    place = np.cumsum(near.seen) - 1
    return near.numbers(), place[near.at]


@dataclass(frozen=True)
class _Bitmap:
    """Numbers as marks: number ``low + (i << shift)`` is there if ``seen[i]``."""

    low: np.uint64
    shift: np.uint64
    at: NDArray[np.intp]
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, numbers: Addresses) -> _Bitmap | None:
        """None if the numbers are too far apart."""
        low = numbers.min()
        beyond = numbers - low
        # Addresses from malloc differ by multiples of 16.
        bits = int(np.bitwise_or.reduce(beyond))
        shift = np.uint64((bits & -bits).bit_length() - 1 if bits else 0)
        span = int(beyond.max() >> shift) + 1
        if span > _SPREAD * numbers.size + 4096:
            return None
        at = (beyond >> shift).astype(np.intp)
        seen = np.zeros(span, dtype=np.bool_)
        seen[at] = True
        return cls(low, shift, at, seen)

    def numbers(self) -> Addresses:
        """The numbers, ascending."""
        return (np.flatnonzero(self.seen).astype(np.uint64) << self.shift) + self.low
