"""Both ends of a ring in shared memory (devmodel.abi.rings).

The device keeps its own index privately and only ever reads the other side's: a guest that
writes garbage into a header can confuse itself, not the device. An index that claims more
messages than the ring has entries is an error, which is counted, and the two sides are brought
together again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from devmodel.abi.rings import EVENT_NEVER, RingHeader
from devmodel.device.hardware import RingGeometry

_MASK = (1 << 64) - 1
_PRODUCED = RingHeader.offset("produced") // 8
_CONSUMED = RingHeader.offset("consumed") // 8
_EVENT = RingHeader.offset("event") // 8
_HEADER_WORDS = RingHeader.SIZE // 8

_fence_lock = threading.Lock()


def fence() -> None:
    """Order earlier stores before later loads. See docs/adr/0001-python-on-shared-memory.md."""
    with _fence_lock:
        pass


class _Ring:
    """What both ends share. `region` is the shared region as bytes, a multiple of 8 long.

    `on_error` is called when the other side's index makes no sense.
    """

    def __init__(
        self, region: memoryview, geometry: RingGeometry, on_error: Callable[[], None]
    ) -> None:
        self.geometry = geometry
        self.entries = geometry.entries
        self._size = geometry.entry_size
        self._bytes = region
        self._words = region.cast("Q")
        self._header = geometry.offset // 8
        self._base = geometry.offset + RingHeader.SIZE
        self._on_error = on_error
        self.index = 0

    def clear(self) -> None:
        """Zero the header and start again from index 0."""
        for word in range(_HEADER_WORDS):
            self._words[self._header + word] = 0
        self.index = 0

    def offset(self, index: int) -> int:
        """Offset in the region of the slot of message `index`."""
        return self._base + (index % self.entries) * self._size


class Consumer(_Ring):
    """The taking end: messages from the guest. `index` is the next message to take."""

    def available(self) -> int:
        """How many messages wait. More than the ring holds: error, and all are skipped."""
        produced = self._words[self._header + _PRODUCED]
        waiting = (produced - self.index) & _MASK
        if waiting <= self.entries:
            return waiting
        self.index = produced
        self._words[self._header + _CONSUMED] = produced
        self._on_error()
        return 0

    def peek(self, ahead: int = 0) -> bytes:
        """A copy of the waiting message `index + ahead`: the guest may write it meanwhile."""
        start = self.offset(self.index + ahead)
        return self._bytes[start : start + self._size].tobytes()

    def produced(self) -> bool:
        """Whether the guest's index is another than ours: the quick look before `available`."""
        waiting: bool = self._words[self._header + _PRODUCED] != self.index
        return waiting

    def take(self, count: int) -> bytes:
        """Up to `count` of the available messages at once, those in neighbouring slots."""
        start = self.offset(self.index)
        count = min(count, self.entries - self.index % self.entries)
        data = self._bytes[start : start + count * self._size].tobytes()
        self.index = (self.index + count) & _MASK
        self._words[self._header + _CONSUMED] = self.index
        # Half of a ring may fill up before the guest has to wake us.
        self._words[self._header + _EVENT] = (self.index + self.entries // 2) & _MASK
        return data

    def advance(self) -> None:
        """Give the slot of the message `index` back to the guest."""
        self.index = (self.index + 1) & _MASK
        self._words[self._header + _CONSUMED] = self.index

    def set_event(self, wanted: bool) -> None:
        """Ask to be told of the next message, or of none."""
        self._words[self._header + _EVENT] = self.index if wanted else EVENT_NEVER


class Producer(_Ring):
    """The giving end: messages to the guest. `index` is the next message to write."""

    def __init__(
        self, region: memoryview, geometry: RingGeometry, on_error: Callable[[], None]
    ) -> None:
        super().__init__(region, geometry, on_error)
        self._rung = 0
        self._broken = False

    def clear(self) -> None:
        super().clear()
        self._rung = 0
        self._broken = False

    def room(self) -> int:
        """Free slots. A `consumed` that makes no sense is an error, and means none."""
        taken = (self.index - self._words[self._header + _CONSUMED]) & _MASK
        if taken <= self.entries:
            self._broken = False
            return self.entries - taken
        if not self._broken:
            self._broken = True
            self._on_error()
        return 0

    def push(self, message: bytes) -> None:
        """Write one message. There must be `room`."""
        start = self.offset(self.index)
        # Payload first, index last: x86-TSO keeps the order (docs/adr/0001).
        self._bytes[start : start + self._size] = message
        self.index = (self.index + 1) & _MASK
        self._words[self._header + _PRODUCED] = self.index

    def interrupt_due(self) -> bool:
        """Whether the guest asked to be told of a message pushed since the last call."""
        if self._rung == self.index:
            return False
        # The guest stores `event` and then looks at `produced`; here it is the other way round.
        # Without a fence on each side both could miss the other's store.
        fence()
        event = self._words[self._header + _EVENT]
        due = (event - self._rung) & _MASK < (self.index - self._rung) & _MASK
        self._rung = self.index
        return due
