"""Invariant 3, one device's HBM: a frame is given out once, and only then used.

Times are positions in the device's own trace: its driver's FRAME_ALLOC and FRAME_FREE and its own
accesses and copies stand there in the order in which they happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.pages import History, chunks, expand, find
from devmodel.experiment.oracle.trace import DeviceTrace, Indices, Mask, Numbers
from devmodel.experiment.oracle.violation import MOST, Kind, Violation

_PLACE_BITS = 44


class Frames:
    """The frames of one device: when each was given out and taken back."""

    def __init__(self, trace: DeviceTrace) -> None:
        self.trace = trace
        events = trace.of(TraceKind.FRAME_ALLOC, TraceKind.FRAME_FREE)
        of, places = expand(trace.places(trace.records["bus"][events]), trace.npages(events))
        records = events[of]
        codes = trace.life[records] << _PLACE_BITS | places
        self._codes = np.unique(codes)
        things, _ = find(self._codes, codes)
        self._history = History(
            things.astype(np.int64), records.astype(np.int64), trace.records.size + 1
        )
        order = self._history.order
        self.records: Indices = records[order]
        self.places: Numbers = places[order]
        self.given: Mask = trace.records["kind"][self.records] == TraceKind.FRAME_ALLOC
        self.seq = trace.seq(self.records)

    def check(self) -> Iterator[Violation]:
        """All violations."""
        yield from self._given_once()
        trace = self.trace
        copies = trace.of(TraceKind.COPY)
        moved = copies[trace.records["other"][copies] != TRACE_NONE]
        yield from islice(self._used(trace.of(TraceKind.ACCESS), "bus"), MOST)
        yield from islice(self._used(moved, "other"), MOST)
        yield from islice(self._used(copies, "bus"), MOST)
        yield from self._filled_once(copies)

    def _violation(self, kind: Kind, record: int, place: int) -> Violation:
        trace = self.trace
        ctx, va = (int(trace.records[name][record]) for name in ("ctx", "va"))
        if ctx:
            first = int(trace.places(trace.records["bus"][[record]])[0])
            va += (place - first) << trace.page_shift
        return Violation(kind, trace.number, record, ctx, va, trace.bus(place))

    def _given_once(self) -> Iterator[Violation]:
        things, given = self._history.things, self.given
        same = np.concatenate(([False], things[1:] == things[:-1])) if things.size else given
        before = np.concatenate(([False], given[:-1])) & same if things.size else given
        for kind, bad in ((Kind.TWICE, given & before), (Kind.NOT_GIVEN, ~given & ~before)):
            for at in np.flatnonzero(bad)[:MOST]:
                yield self._violation(kind, int(self.records[at]), int(self.places[at]))

    def _touched(self, records: Indices, name: str) -> tuple[Indices, Numbers, Indices, Mask]:
        """The pages of own HBM that the field `name` of records means.

        By page: its record, its place, the event of its frame before that, and if it was given out.
        """
        trace = self.trace
        first = trace.places(trace.records[name][records])
        own = trace.owner(first) == trace.number
        of, places = expand(first[own], trace.npages(records[own]))
        at = records[own][of]
        things, known = find(self._codes, trace.life[at] << _PLACE_BITS | places)
        last, some = self._history.before(things.astype(np.int64), at.astype(np.int64))
        good = some & known
        good[good] = self.given[last[good]]
        return at, places, last, good

    def _used(self, records: Indices, name: str) -> Iterator[Violation]:
        """What is touched was given out."""
        for part in chunks(self.trace.npages(records)):
            at, places, _, good = self._touched(records[part], name)
            for bad in np.flatnonzero(~good):
                yield self._violation(Kind.FREE_FRAME, int(at[bad]), int(places[bad]))

    def _filled_once(self, copies: Indices) -> Iterator[Violation]:
        """A frame gets its bytes once, when a page moves in."""
        at, places, event, good = self._touched(copies, "bus")
        at, places, event = at[good], places[good], event[good]
        again = np.ones(event.size, dtype=np.bool_)
        again[np.unique(event, return_index=True)[1]] = False
        for bad in np.flatnonzero(again)[:MOST]:
            yield self._violation(Kind.COPIED_TWICE, int(at[bad]), int(places[bad]))
