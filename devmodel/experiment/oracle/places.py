"""Invariant 3 over all devices: a page is in one place, a frame belongs to one page.

What the driver said, in its own global order. A mapping lives from its MAP to the UPDATE that
took it, and while it lives

- no mirror of the same address space has the page mapped elsewhere;
- if it lets a device write to HBM, no other page is mapped to that frame (forked processes share
  frames, but nobody writes to them);
- a frame of HBM is not taken back;
- the copy engine neither reads nor writes the place.

A copy is ordered by the driver's records around it in its device's trace. What may have been
before or after is given the benefit of the doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from devmodel.abi.pagetable import PTE_VALID, PTE_WRITE
from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.frames import Frames
from devmodel.experiment.oracle.mappings import Mappings
from devmodel.experiment.oracle.pages import History, expand
from devmodel.experiment.oracle.trace import NEVER, VPN_BITS, DeviceTrace, Indices, Mask, Numbers
from devmodel.experiment.oracle.violation import MOST, Kind, Violation

# The driver maps buffers of its own from here on: they are no process's pages.
_OWN_BUFFERS = 1 << 47


@dataclass(frozen=True)
class Lives:
    """Lives of mappings: of a page (address space and number) at a place, by sequence number."""

    device: Numbers
    record: Indices
    page: Numbers
    va: Numbers
    place: Numbers
    start: Numbers
    end: Numbers

    @classmethod
    def join(cls, parts: Sequence[Lives]) -> Lives:
        """Those of all devices."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            )
        )


class Places:
    """Checks the mappings of all devices together."""

    def __init__(self, mappings: Sequence[Mappings], frames: Sequence[Frames]) -> None:
        self._traces = {m.trace.number: m.trace for m in mappings}
        self._frames = {f.trace.number: f for f in frames}
        spaces = _address_spaces([m.trace for m in mappings])
        self._lives = Lives.join(
            [_lives(m, s, PTE_VALID) for m, s in zip(mappings, spaces, strict=True)]
        )
        self._writable = Lives.join(
            [_lives(m, s, PTE_WRITE) for m, s in zip(mappings, spaces, strict=True)]
        )

    def check(self) -> Iterator[Violation]:
        """All violations."""
        yield from self._one_place()
        yield from self._one_page()
        yield from self._not_free()
        yield from self._copies()

    def _violation(self, kind: Kind, lives: Lives, at: int) -> Violation:
        trace = self._traces[int(lives.device[at])]
        record = int(lives.record[at])
        ctx = int(trace.records["ctx"][record])
        bus = trace.bus(int(lives.place[at]))
        return Violation(kind, trace.number, record, ctx, int(lives.va[at]), bus)

    def _one_place(self) -> Iterator[Violation]:
        lives = self._lives
        pairs = _overlaps(lives.page, lives.place, lives.start, lives.end)
        for _, later in islice(pairs, MOST):
            yield self._violation(Kind.TWO_PLACES, lives, later)

    def _one_page(self) -> Iterator[Violation]:
        """A frame that can be written as one page is not mapped as another."""
        lives = self._lives
        trace = next(iter(self._traces.values()))
        # Frames that a kernel gives out may be of shared memory.
        hbm = np.flatnonzero(np.isin(trace.owner(lives.place), list(self._frames)))
        pairs = _overlaps(lives.place[hbm], lives.page[hbm], lives.start[hbm], lives.end[hbm])
        shared = (hbm[pair[1]] for pair in pairs if self._written(*hbm[list(pair)]))
        for later in islice(shared, MOST):
            yield self._violation(Kind.SHARED_FRAME, lives, int(later))

    def _written(self, one: int, other: int) -> bool:
        """Whether one of two pages in a frame can be written while both are mapped there."""
        lives, writable = self._lives, self._writable
        begin = max(lives.start[one], lives.start[other])
        end = min(lives.end[one], lives.end[other])
        during = (writable.start < end) & (writable.end > begin)
        here = during & (writable.place == lives.place[one])
        return bool((here & np.isin(writable.page, lives.page[[one, other]])).any())

    def _not_free(self) -> Iterator[Violation]:
        """Frames are given out before a mapping, and not taken back while it lives."""
        lives = self._lives
        for number, frames in self._frames.items():
            mine = np.flatnonzero(frames.trace.owner(lives.place) == number)
            places, index = np.unique(
                np.concatenate((frames.places, lives.place[mine])), return_inverse=True
            )
            del places
            events, things = index[: frames.places.size], index[frames.places.size :]
            times = np.concatenate((frames.seq, lives.start[mine], lives.end[mine]))
            _, rank = np.unique(times, return_inverse=True)
            ranks = np.split(rank, (frames.seq.size, frames.seq.size + mine.size))
            history = History(events, ranks[0], rank.size + 1)
            given = frames.given[history.order]
            last, some = history.before(things, ranks[1])
            bad = ~some
            if given.size:
                bad |= ~given[last]
            later, more = history.after(things, ranks[1])
            bad[more] |= history.times[later[more]] < ranks[2][more]
            for at in mine[np.flatnonzero(bad)[:MOST]]:
                yield self._violation(Kind.FREE_FRAME, lives, int(at))

    def _copies(self) -> Iterator[Violation]:
        """What is copied, or copied over, no device can reach."""
        lives = self._lives
        starts, ends = (np.lexsort((times, lives.place)) for times in (lives.start, lives.end))
        for trace in self._traces.values():
            copies = trace.of(TraceKind.COPY)
            moved = copies[trace.records["other"][copies] != TRACE_NONE]
            for records, name in ((moved, "other"), (copies, "bus")):
                of, places = expand(
                    trace.places(trace.records[name][records]), trace.npages(records)
                )
                before, after = trace.around(records)
                begun = _count(lives.place[starts], lives.start[starts], places, before[of] + 1)
                ended = _count(lives.place[ends], lives.end[ends], places, after[of])
                for bad in np.flatnonzero(begun > ended)[:MOST]:
                    yield Violation(
                        Kind.COPIED_MAPPED,
                        trace.number,
                        int(records[of[bad]]),
                        bus=trace.bus(int(places[bad])),
                    )


def _address_spaces(traces: Sequence[DeviceTrace]) -> list[Numbers]:
    """By trace: a number for the address space of each of its spaces, the same for all devices.

    A context that nobody registered is an address space of its own.
    """
    numbers: dict[int, int] = {}
    spaces: list[Numbers] = []
    for trace in traces:
        count = int(trace.space.max()) + 1
        mine = np.arange(count, dtype=np.int64) + sum(s.size for s in spaces) + (1 << 24)
        for record in trace.of(TraceKind.REGISTER):
            name = int(trace.records["other"][record])
            mine[trace.space[record]] = numbers.setdefault(name, len(numbers))
        spaces.append(mine)
    return spaces


def _lives(mappings: Mappings, spaces: Numbers, right: int) -> Lives:
    """How long the driver let the device use each page at each place, with a right."""
    trace, updates = mappings.trace, mappings.updates
    rights = trace.records["rights"]
    given = rights[mappings.map_of] & np.uint64(right) != 0
    taken = rights[updates.at[updates.of]] & np.uint64(right) == 0
    pages = np.concatenate((mappings.map_page[given], updates.page[taken]))
    records = np.concatenate((mappings.map_of[given], updates.at[updates.of][taken]))
    count = int(np.count_nonzero(given))
    places = np.full(pages.size, -1, dtype=np.int64)
    places[:count] = trace.places(mappings.map_bus[given])
    history = History(pages, records.astype(np.int64), mappings.limit)
    pages, records, places = (x[history.order] for x in (pages, records, places))
    # A mapping that is made again where it is goes on.
    first: Mask = np.ones(pages.size, dtype=np.bool_)
    first[1:] = (pages[1:] != pages[:-1]) | (places[1:] != places[:-1])
    pages, records, places = (x[first] for x in (pages, records, places))
    seq = trace.seq(records)
    end = trace.ends()[records]
    followed = np.flatnonzero(pages[1:] == pages[:-1])
    end[followed] = seq[followed + 1]
    va = (mappings.keys[pages] & (1 << VPN_BITS) - 1) << trace.page_shift
    chosen = (places >= 0) & (va < _OWN_BUFFERS)
    page = spaces[trace.space[records]] << VPN_BITS | va >> trace.page_shift
    return Lives(
        np.full(int(np.count_nonzero(chosen)), trace.number),
        records[chosen],
        page[chosen],
        va[chosen],
        places[chosen],
        seq[chosen],
        np.minimum(end[chosen], NEVER),
    )


def _overlaps(
    group: Numbers, member: Numbers, start: Numbers, end: Numbers
) -> Iterator[tuple[int, int]]:
    """Pairs of lives of one group and different members that overlap: (earlier, later)."""
    if not group.size:
        return
    _, groups = np.unique(group, return_inverse=True)
    _, ranks = np.unique(np.concatenate((start, end)), return_inverse=True)
    begin, stop, limit = ranks[: start.size], ranks[start.size :], ranks.size + 1
    # What overlaps within one member is one: a page that two devices map, at one place.
    order = np.lexsort((begin, member, groups))
    first = np.ones(order.size, dtype=np.bool_)
    one, two = order[:-1], order[1:]
    first[1:] = (groups[one] != groups[two]) | (member[one] != member[two])
    latest = _latest(np.cumsum(first), stop[order], limit)
    first[1:] |= begin[two] >= latest[:-1]
    merged = order[first]
    stop = latest[np.append(np.flatnonzero(first)[1:] - 1, order.size - 1)]
    # Then whatever overlaps has different members.
    order = np.lexsort((begin[merged], groups[merged]))
    merged, stop = merged[order], stop[order]
    latest = _latest(groups[merged], stop, limit)
    same = groups[merged[1:]] == groups[merged[:-1]]
    for later in np.flatnonzero(same & (latest[:-1] > begin[merged[1:]])) + 1:
        earlier = later - 1
        while earlier >= 0 and groups[merged[earlier]] == groups[merged[later]]:
            if stop[earlier] > begin[merged[later]]:
                yield int(merged[earlier]), int(merged[later])
            earlier -= 1


def _latest(group: Numbers, end: Numbers, limit: int) -> Numbers:
    """By life, in order of ascending groups: the latest end in its group so far."""
    latest: Numbers = np.maximum.accumulate(group * limit + end) - group * limit
    return latest


def _count(places: Numbers, times: Numbers, place: Numbers, time: Numbers) -> Numbers:
    """How many of the sorted (place, time) are at each `place` and before each `time`."""
    if not places.size:
        return np.zeros(place.shape, dtype=np.int64)
    _, ranks = np.unique(np.concatenate((times, time)), return_inverse=True)
    _, things = np.unique(np.concatenate((places, place)), return_inverse=True)
    limit = ranks.size + 1
    known = things[: places.size] * limit + ranks[: places.size]
    wanted = things[places.size :] * limit
    low = np.searchsorted(known, wanted)
    counted: Numbers = np.searchsorted(known, wanted + ranks[places.size :]) - low
    return counted
