"""Runs of pages as single pages, and what held for a page at a moment: sorted arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from devmodel.experiment.oracle.trace import Indices, Mask, Numbers

_CHUNK = 1 << 20


def expand(first: Numbers, count: Numbers) -> tuple[Indices, Numbers]:
    """Runs as single numbers: which run each is of, and the number. Shapes (n,) to (sum,)."""
    run = np.repeat(np.arange(first.size), count)
    offset = np.arange(run.size) - np.repeat(np.cumsum(count) - count, count)
    return run, first[run] + offset


def chunks(count: Numbers) -> Iterator[slice]:
    """Slices of runs that have about a million numbers each, so that memory is bounded."""
    total = np.cumsum(count)
    start = 0
    while start < count.size:
        most = total[start] - count[start] + _CHUNK
        end = max(int(np.searchsorted(total, most)), start + 1)
        yield slice(start, end)
        start = end


def find(known: Numbers, wanted: Numbers) -> tuple[Indices, Mask]:
    """The place of each `wanted` number in the ascending `known`, and which are there."""
    place = np.searchsorted(known, wanted)
    there = np.zeros(wanted.shape, dtype=np.bool_)
    inside = place < known.size
    there[inside] = known[place[inside]] == wanted[inside]
    return np.where(there, place, 0), there


class History:
    """Events of things, by thing and time; `values` belongs to the events, in the given order.

    Things and times are small non-negative numbers: their product must fit into 62 bits.
    """

    def __init__(self, things: Numbers, times: Numbers, limit: int) -> None:
        self._limit = limit
        code = things * limit + times
        self.order = np.argsort(code, kind="stable")
        self._code = code[self.order]
        self.things = things[self.order]
        self.times = times[self.order]

    def before(self, things: Numbers, times: Numbers) -> tuple[Indices, Mask]:
        """The last event of each thing before a time, numbered in sorted order; and if any."""
        at = np.searchsorted(self._code, things * self._limit + times) - 1
        some = at >= 0
        some[some] = self.things[at[some]] == things[some]
        return np.where(some, at, 0), some

    def after(self, things: Numbers, times: Numbers) -> tuple[Indices, Mask]:
        """The first event of each thing after a time, likewise."""
        at = np.searchsorted(self._code, things * self._limit + times, side="right")
        some = at < self.things.size
        some[some] = self.things[at[some]] == things[some]
        return np.where(some, at, 0), some
