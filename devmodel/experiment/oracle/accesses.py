"""Invariants 1 and 2: every access by a translation in force, every write collected.

An access is right if its page had a mapping at that moment, to the place that was touched, with
the rights that were needed; a mapping is in force from its MAP until the device acknowledged the
invalidate of the UPDATE that took it. A write is collected if the next UPDATE over its page has
the page among its DIRTY ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_WRITE
from devmodel.abi.trace import TraceKind
from devmodel.experiment.oracle.mappings import Mappings
from devmodel.experiment.oracle.pages import History, chunks, expand, find
from devmodel.experiment.oracle.trace import Indices, Mask, Numbers, Words
from devmodel.experiment.oracle.violation import MOST, Kind, Violation


class Accesses:
    """Checks the accesses of one device. `pages` counts them once it has run."""

    def __init__(self, mappings: Mappings) -> None:
        self._mappings = mappings
        self._trace = mappings.trace
        self._found: dict[Kind, list[Violation]] = {}
        self._size = np.uint64(1 << self._trace.page_shift)
        self._updates = History(
            mappings.updates.page, mappings.updates.effect[mappings.updates.of], mappings.limit
        )
        # By (update, page): writes that were seen before it, and their records.
        self._written: list[tuple[Numbers, Indices]] = []
        self.pages = 0

    def check(self, advance: Callable[[int], None]) -> Iterator[Violation]:
        """All violations; `advance` is told how many records were done."""
        accesses = self._trace.of(TraceKind.ACCESS)
        npages = self._trace.npages(accesses)
        self.pages = int(npages.sum())
        for part in chunks(npages):
            self._chunk(accesses[part], npages[part])
            advance(part.stop - part.start)
        self._unacknowledged()
        self._lost()
        for found in self._found.values():
            yield from found

    def _report(
        self, kind: Kind, bad: Mask, records: Indices, keys: Numbers, bus: Words | None = None
    ) -> None:
        found = self._found.setdefault(kind, [])
        shift = self._trace.page_shift
        for at in np.flatnonzero(bad)[: MOST - len(found)]:
            record = int(records[at])
            found.append(
                Violation(
                    kind,
                    self._trace.number,
                    record,
                    int(self._trace.records["ctx"][record]),
                    (int(keys[at]) & (1 << 36) - 1) << shift,
                    0 if bus is None else int(bus[at]),
                )
            )

    def _chunk(self, accesses: Indices, npages: Numbers) -> None:
        trace, mappings = self._trace, self._mappings
        of, keys = expand(trace.key(accesses), npages)
        records = accesses[of]
        times = records.astype(np.int64)
        first = trace.key(accesses)[of]
        bus = trace.records["bus"][records] + (keys - first).astype(np.uint64) * self._size
        pages, known = find(mappings.keys, keys)
        held, right_bus = mappings.place.at(pages, times)
        held &= known
        elsewhere = held & (right_bus != bus)
        good = held & ~elsewhere
        if not good.all():
            before = self._was_mapped(pages, times, bus) & known
            any_before = self._was_mapped(pages, times, None) & known
            self._report(Kind.REVOKED, ~good & before, records, keys, bus)
            self._report(Kind.WRONG_FRAME, elsewhere & ~before, records, keys, bus)
            self._report(Kind.REVOKED, ~held & any_before & ~before, records, keys, bus)
            self._report(Kind.UNMAPPED, ~held & ~any_before, records, keys, bus)
        rights = trace.records["rights"][records]
        for kind, right, history in (
            (Kind.WRITE, PTE_WRITE, mappings.write),
            (Kind.ATOMIC, PTE_ATOMIC, mappings.atomic),
        ):
            needs = good & (rights & np.uint64(right) != 0)
            if needs.any():
                allowed, _ = history.at(pages[needs], times[needs])
                bad = needs.copy()
                bad[needs] = ~allowed
                self._report(kind, bad, records, keys, bus)
                good &= ~bad
        wrote = good & (rights & np.uint64(PTE_WRITE) != 0)
        self._remember(pages[wrote], times[wrote], records[wrote])

    def _was_mapped(self, pages: Numbers, times: Numbers, bus: Words | None) -> Mask:
        """Whether a page was ever mapped before, to `bus` if given. Slow: for violations only."""
        mappings = self._mappings
        was: Mask = np.zeros(pages.shape, dtype=np.bool_)
        order = np.argsort(mappings.map_page, kind="stable")
        sorted_pages = mappings.map_page[order]
        low = np.searchsorted(sorted_pages, pages)
        high = np.searchsorted(sorted_pages, pages, side="right")
        of, at = expand(low, high - low)
        match = mappings.map_of[order[at]] < times[of]
        if bus is not None:
            match &= mappings.map_bus[order[at]] == bus[of]
        was[of[match]] = True
        return was

    # Invariant 2

    def _remember(self, pages: Numbers, times: Numbers, records: Indices) -> None:
        """Which update has to have collected each write."""
        if not pages.size or not self._updates.things.size:
            return
        next_one, some = self._updates.after(pages, times)
        update = self._mappings.updates.of[self._updates.order[next_one[some]]]
        due = update * np.int64(self._mappings.keys.size) + pages[some]
        due, index = np.unique(due, return_index=True)
        self._written.append((due, records[some][index]))

    def _lost(self) -> None:
        mappings = self._mappings
        if not self._written:
            return
        due, index = np.unique(np.concatenate([due for due, _ in self._written]), return_index=True)
        records = np.concatenate([records for _, records in self._written])[index]
        collected = self._collected()
        _, there = find(collected, due)
        keys = mappings.keys[due % mappings.keys.size]
        self._report(Kind.LOST_DIRTY, ~there, records, keys)

    def _collected(self) -> Numbers:
        """(update, page) of every dirty page, ascending. An UPDATE comes after its DIRTYs."""
        mappings, trace = self._mappings, self._trace
        dirty = trace.of(TraceKind.DIRTY)
        updates = mappings.updates.at
        later = History(trace.space[updates], updates.astype(np.int64), mappings.limit)
        update, some = later.after(trace.space[dirty], dirty.astype(np.int64))
        dirty, update = dirty[some], later.order[update[some]]
        of, pages = mappings.pages_in(trace.key(dirty), trace.npages(dirty))
        return np.unique(update[of] * np.int64(mappings.keys.size) + pages)

    def _unacknowledged(self) -> None:
        updates = self._mappings.updates
        bad = ~updates.acknowledged
        self._report(Kind.UNACKNOWLEDGED, bad, updates.at, self._trace.key(updates.at))
