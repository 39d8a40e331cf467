"""What the device counts, and where the guest reads it."""

from __future__ import annotations

from operator import attrgetter

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.registers import CONTEXT_ENTRIES, CONTEXT_PAGE, COUNTER_PAGE

_NAMES = tuple(field.name for field in DeviceCounters.FIELDS)
_values = attrgetter(*_NAMES)

_OF_CONTEXT = tuple(field.name for field in ContextCounters.FIELDS)
_context_values = attrgetter(*_OF_CONTEXT)
# What the device counts in one place while a program runs: whose it is, who runs it knows.
_SHARED = ("tlb_hits", "tlb_misses", "remote_bytes_read", "remote_bytes_written")
shared = attrgetter(*_SHARED)


class CounterPage:
    """Counts privately in `now`; `publish` stores what changed to the counter page.

    Counting in the page itself would let a guest that scribbles there disturb the device.
    """

    def __init__(self, words: memoryview) -> None:
        self.now = DeviceCounters()
        self._words = words
        self._published: tuple[int, ...] = (0,) * len(_NAMES)

    def publish(self) -> None:
        """Store the counters that changed, each as one aligned word."""
        values = _values(self.now)
        if values == self._published:
            return
        base = COUNTER_PAGE // 8
        for index, (value, old) in enumerate(zip(values, self._published, strict=True)):
            if value != old:
                self._words[base + index] = value
        self._published = values

    def clear(self) -> None:
        """Start again from zero, in place: others hold `now`."""
        base = COUNTER_PAGE // 8
        for index, name in enumerate(_NAMES):
            setattr(self.now, name, 0)
            self._words[base + index] = 0
        self._published = (0,) * len(_NAMES)


def charge(context: ContextCounters, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """What `shared` counters rose by is this context's."""
    for name, old, new in zip(_SHARED, before, after, strict=True):
        if new != old:
            setattr(context, name, getattr(context, name) + new - old)


class ContextPage:
    """The counters of contexts, for who looks from outside; the same care as with the others.

    A context that finds no room on the page is not told of.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._free = list(range(CONTEXT_ENTRIES - 1, -1, -1))
        self._places: dict[int, int] = {}
        self._changed: dict[int, ContextCounters] = {}
        for place in self._free:
            # Of an earlier life of the device.
            words[_first(place)] = 0

    def add(self, context: ContextCounters) -> None:
        """There is a new one."""
        if self._free:
            self._places[context.ctx] = self._free.pop()
            self.touch(context)

    def remove(self, ctx: int) -> None:
        """It is gone."""
        place = self._places.pop(ctx, None)
        self._changed.pop(ctx, None)
        if place is not None:
            self._words[_first(place)] = 0
            self._free.append(place)

    def touch(self, context: ContextCounters) -> None:
        """It has counted something."""
        self._changed[context.ctx] = context

    def publish(self) -> None:
        """Store what changed, each as one aligned word, the id last."""
        for ctx, context in self._changed.items():
            place = self._places.get(ctx)
            if place is not None:
                first = _first(place)
                for offset, value in reversed(list(enumerate(_context_values(context)))):
                    self._words[first + offset] = value
        self._changed.clear()

    def clear(self) -> None:
        """There is none any more."""
        for ctx in list(self._places):
            self.remove(ctx)


def _first(place: int) -> int:
    return (CONTEXT_PAGE + place * ContextCounters.SIZE) // 8
