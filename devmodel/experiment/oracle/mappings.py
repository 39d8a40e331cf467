"""What a device might use, and when: the driver's mappings and revocations by page.

Times are positions in the device's trace. A right ends where the device acknowledged the
invalidate, which the trace says in the device's own words (CONTROL), not the driver's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_VALID, PTE_WRITE
from devmodel.abi.rings import ControlOp
from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.pages import History, expand, find
from devmodel.experiment.oracle.trace import (
    VPN_BITS,
    DeviceTrace,
    Indices,
    Mask,
    Numbers,
    Words,
)


@dataclass(frozen=True)
class Updates:
    """UPDATE records: their positions, where they took effect, and which were acknowledged."""

    at: Indices
    effect: Numbers
    acknowledged: Mask
    # By page: which update, which page (numbered as in `Mappings.keys`).
    of: Indices
    page: Numbers


class Mappings:
    """The mappings of one device. `keys` are the pages that ever had one, ascending."""

    def __init__(self, trace: DeviceTrace) -> None:
        self.trace = trace
        self.limit = trace.records.size + 1
        self.maps = trace.of(TraceKind.MAP)
        of, keys = expand(trace.key(self.maps), trace.npages(self.maps))
        self.keys = np.unique(keys)
        self.map_of = self.maps[of]
        """by mapped page: the MAP record"""
        self.map_page, _ = find(self.keys, keys)
        first = trace.key(self.maps)
        size = np.uint64(1 << trace.page_shift)
        self.map_bus = trace.records["bus"][self.map_of] + (keys - first[of]).astype(np.uint64) * (
            size
        )
        self.updates = self._updates()
        self._ends = self._context_ends()
        rights = trace.records["rights"]
        stay = rights[self.updates.at[self.updates.of]]
        self.place = self._history(np.ones(self.map_of.size, np.bool_), stay & PTE_VALID == 0)
        self.write, self.atomic = (
            self._history(rights[self.map_of] & right != 0, stay & right == 0)
            for right in (np.uint64(PTE_WRITE), np.uint64(PTE_ATOMIC))
        )

    def pages_in(self, key: Numbers, npages: Numbers) -> tuple[Indices, Numbers]:
        """The mapped pages within ranges: which range, which page."""
        low = np.searchsorted(self.keys, key)
        space_end = (key >> VPN_BITS) + 1 << VPN_BITS
        high = np.searchsorted(self.keys, np.minimum(key + npages, space_end))
        return expand(low, high - low)

    def _updates(self) -> Updates:
        trace = self.trace
        at = trace.of(TraceKind.UPDATE)
        effect = at.astype(np.int64)
        needed = trace.records["control"][at] != TRACE_NONE
        invalidates = trace.commands(ControlOp.INVALIDATE)
        told = History(trace.space[invalidates], invalidates.astype(np.int64), self.limit)
        last, some = told.before(trace.space[at], effect)
        acknowledged = some.copy()
        match = invalidates[told.order[last[some]]]
        key, npages = trace.key(at[some]), trace.npages(at[some])
        acknowledged[some] = (trace.key(match) <= key) & (
            trace.key(match) + trace.npages(match) >= key + npages
        )
        by_device = needed & acknowledged
        effect[by_device] = told.times[last[by_device]]
        of, page = self.pages_in(trace.key(at), trace.npages(at))
        return Updates(at, effect, acknowledged | ~needed, of, page)

    def _context_ends(self) -> tuple[Numbers, Numbers]:
        """Pages, and positions where the device forgot their context."""
        destroyed = self.trace.commands(ControlOp.CONTEXT_DESTROY)
        space = self.trace.space[destroyed] << VPN_BITS
        of, page = self.pages_in(space, np.full(space.size, 1 << VPN_BITS))
        return page, destroyed[of].astype(np.int64)

    def _history(self, given: Mask, taken: Mask) -> Held:
        updates, (ended, end_times) = self.updates, self._ends
        pages = np.concatenate((self.map_page[given], updates.page[taken], ended))
        times = np.concatenate(
            (
                self.map_of[given].astype(np.int64),
                updates.effect[updates.of[taken]],
                end_times,
            )
        )
        bus = np.zeros(pages.size, dtype=np.uint64)
        count = int(np.count_nonzero(given))
        bus[:count] = self.map_bus[given]
        return Held(pages, times, self.limit, np.arange(pages.size) < count, bus)


class Held:
    """Whether a right was held on a page, and on which bus address."""

    def __init__(self, pages: Numbers, times: Numbers, limit: int, given: Mask, bus: Words) -> None:
        self._events = History(pages, times, limit)
        self._given = given[self._events.order]
        self._bus = bus[self._events.order]

    def at(self, pages: Numbers, times: Numbers) -> tuple[Mask, Words]:
        """Per page and time: whether it was held then, and the bus address of its mapping."""
        if not self._given.size:
            return np.zeros(pages.shape, np.bool_), np.zeros(pages.shape, np.uint64)
        last, some = self._events.before(pages, times)
        return some & self._given[last], self._bus[last]
