"""What the device counts, and where the guest reads it."""

from __future__ import annotations

from operator import attrgetter

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.registers import COUNTER_PAGE

_NAMES = tuple(field.name for field in DeviceCounters.FIELDS)
_values = attrgetter(*_NAMES)


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
