"""Both ends of a ring against a deque, and against a guest that writes garbage into headers."""

from __future__ import annotations

from collections import deque

import numpy as np
from fake_driver import Ring
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from devmodel.abi.rings import EVENT_NEVER, RingHeader
from devmodel.device.hardware import RingGeometry
from devmodel.device.ring import Consumer, Producer

ENTRIES = 8
GEOMETRY = RingGeometry("test", 256, ENTRIES, 64)
SIZE = 256 + RingHeader.SIZE + ENTRIES * 64 + 64

WORDS = st.one_of(
    st.integers(0, 40), st.integers(0, (1 << 64) - 1), st.integers((1 << 64) - 20, (1 << 64) - 1)
)


def message(number: int) -> bytes:
    return number.to_bytes(8, "little") * 8


class RingMachine(RuleBasedStateMachine):
    """One ring in each direction; the guest's ends are the fake driver's."""

    def __init__(self) -> None:
        super().__init__()
        to_device = np.zeros(SIZE, dtype=np.uint8)
        to_guest = np.zeros(SIZE, dtype=np.uint8)
        self.errors = 0
        self.guest_out, self.guest_in = Ring(to_device, GEOMETRY), Ring(to_guest, GEOMETRY)
        self.consumer = Consumer(to_device.data, GEOMETRY, self.error)
        self.producer = Producer(to_guest.data, GEOMETRY, self.error)
        self.sent: deque[int] = deque()
        self.received: deque[int] = deque()
        self.number = 0
        # Messages pushed since the device last asked whether a doorbell is due.
        self.unrung: list[int] = []
        self.memory = (to_device, to_guest)

    def error(self) -> None:
        self.errors += 1

    @precondition(lambda self: len(self.sent) < ENTRIES)
    @rule()
    def guest_sends(self) -> None:
        self.number += 1
        self.guest_out.push(message(self.number))
        self.sent.append(self.number)

    @rule()
    def device_takes(self) -> None:
        assert self.consumer.available() == len(self.sent)
        for ahead, number in enumerate(self.sent):
            assert self.consumer.peek(ahead) == message(number)
        if self.sent:
            self.consumer.advance()
            self.sent.popleft()

    @rule(wanted=st.booleans())
    def device_wants_a_doorbell(self, wanted: bool) -> None:
        self.consumer.set_event(wanted)
        event = self.guest_out.header("event")
        assert event == (self.consumer.index if wanted else EVENT_NEVER)

    @rule()
    def device_sends(self) -> None:
        assert self.producer.room() == ENTRIES - len(self.received)
        if self.producer.room():
            self.number += 1
            self.unrung.append(self.producer.index)
            self.producer.push(message(self.number))
            self.received.append(self.number)

    @rule()
    def guest_takes(self) -> None:
        taken = self.guest_in.take()
        assert taken == (message(self.received.popleft()) if self.received else None)

    @rule(ahead=st.integers(-3, 12))
    def device_rings(self, ahead: int) -> None:
        event = max(self.guest_in.index + ahead, 0)
        self.guest_in.set_header("event", event)
        assert self.producer.interrupt_due() == (event in self.unrung)
        self.unrung.clear()

    @rule()
    def device_rings_not(self) -> None:
        self.guest_in.set_header("event", EVENT_NEVER)
        assert not self.producer.interrupt_due()
        self.unrung.clear()

    @invariant()
    def no_errors_and_nothing_outside(self) -> None:
        assert self.errors == 0
        for memory in self.memory:
            assert not memory[:256].any()
            assert not memory[-64:].any()


TestRings = RingMachine.TestCase


@given(st.lists(WORDS, max_size=12))
def test_consumer_survives_any_index(indices: list[int]) -> None:
    memory = np.zeros(SIZE, dtype=np.uint8)
    errors: list[None] = []
    consumer = Consumer(memory.data, GEOMETRY, lambda: errors.append(None))
    guest = Ring(memory, GEOMETRY)
    for produced in indices:
        guest.set_header("produced", produced)
        claimed = (produced - consumer.index) % (1 << 64)
        before = len(errors)
        available = consumer.available()
        if claimed <= ENTRIES:
            assert available == claimed
            assert len(errors) == before
        else:
            # Told, and brought together again: the guest sees all its messages taken.
            assert available == 0
            assert len(errors) == before + 1
            assert guest.header("consumed") == consumer.index == produced
        for _ in range(available):
            consumer.peek()
            consumer.advance()
        assert consumer.available() == 0


@given(st.lists(WORDS, max_size=12))
def test_producer_survives_any_index(indices: list[int]) -> None:
    memory = np.zeros(SIZE, dtype=np.uint8)
    errors: list[None] = []
    producer = Producer(memory.data, GEOMETRY, lambda: errors.append(None))
    guest = Ring(memory, GEOMETRY)
    for consumed in indices:
        guest.set_header("consumed", consumed)
        guest.set_header("event", consumed)
        for _ in range(producer.room()):
            producer.push(message(1))
        assert 0 <= producer.room() <= ENTRIES
        producer.interrupt_due()
    assert len(errors) <= len(indices)
    assert not memory[:256].any()
    assert not memory[-64:].any()


def test_a_broken_consumer_index_is_one_error_until_it_is_mended() -> None:
    memory = np.zeros(SIZE, dtype=np.uint8)
    errors: list[None] = []
    producer = Producer(memory.data, GEOMETRY, lambda: errors.append(None))
    guest = Ring(memory, GEOMETRY)
    producer.push(message(1))
    for consumed, room, expected in ((5, 0, 1), (6, 0, 1), (1, ENTRIES, 1), (9, 0, 2)):
        guest.set_header("consumed", consumed)
        assert producer.room() == room
        assert len(errors) == expected
