"""The TLB against a dictionary: it may forget, but never lie, nor drop what is not asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devmodel.device.tlb import HUGE, VPN_BITS, WRITE_OK, Tlb

TOP = (1 << VPN_BITS) - 1
VPNS = st.integers(0, 40) | st.integers(500, 540) | st.integers(TOP - 40, TOP)
SLOTS = st.integers(1, 3)
FLAGS = st.sampled_from([0, WRITE_OK, HUGE, HUGE | WRITE_OK])


class TlbMachine(RuleBasedStateMachine):
    """`there` is what a TLB without bounds would hold; places tell what must have been evicted."""

    @initialize(entries=st.sampled_from([1, 2, 64, 4096]))
    def start(self, entries: int) -> None:
        self.entries = entries
        self.tlb = Tlb(entries)
        self.there: dict[tuple[int, int], int] = {}
        self.frame = 0

    def place(self, slot: int, vpn: int) -> int:
        return (slot ^ vpn) % self.entries

    def remember(self, slot: int, vpn: int, value: int) -> None:
        for key in [k for k in self.there if self.place(*k) == self.place(slot, vpn)]:
            del self.there[key]
        self.there[slot, vpn] = value

    def value(self, flags: int) -> int:
        self.frame += 1
        return self.frame << 12 | flags

    @rule(slot=SLOTS, vpn=VPNS, flags=FLAGS)
    def put(self, slot: int, vpn: int, flags: int) -> None:
        value = self.value(flags)
        self.tlb.put(slot, vpn, value)
        self.remember(slot, vpn, value)

    @rule(slot=SLOTS, vpns=st.lists(VPNS, min_size=1, unique=True), flags=FLAGS)
    def put_many(self, slot: int, vpns: list[int], flags: int) -> None:
        values = [self.value(flags) for _ in vpns]
        self.tlb.put_many(slot, np.array(vpns, dtype=np.uint64), np.array(values, dtype=np.uint64))
        for vpn, value in zip(vpns, values, strict=True):
            self.remember(slot, vpn, value)

    @rule(slot=SLOTS, first=VPNS, count=st.integers(1, 60))
    def drop_range(self, slot: int, first: int, count: int) -> None:
        self.drop(slot, first, min(count, TOP + 1 - first))

    def drop(self, slot: int, first: int, count: int) -> None:
        last = first + count - 1
        gone = [
            (s, vpn)
            for (s, vpn), value in self.there.items()
            if s == slot
            and (first <= vpn <= last or (value & HUGE and first >> 9 <= vpn >> 9 <= last >> 9))
        ]
        assert self.tlb.drop(slot, first, count) == len(gone)
        for key in gone:
            del self.there[key]

    @precondition(lambda self: self.there)
    @rule(data=st.data(), before=st.integers(0, 1), after=st.integers(0, 1))
    def drop_from_entry_to_entry(self, data: st.DataObject, before: int, after: int) -> None:
        """The ends of a range are where mistakes are."""
        entries = st.sampled_from(sorted(self.there))
        (slot, one), (_, other) = data.draw(entries), data.draw(entries)
        first, last = min(one, other) + before, max(one, other) - after
        if first <= last:
            self.drop(slot, first, last - first + 1)

    @rule(slot=SLOTS)
    def drop_context(self, slot: int) -> None:
        gone = [key for key in self.there if key[0] == slot]
        assert self.tlb.drop_context(slot) == len(gone)
        for key in gone:
            del self.there[key]

    @rule()
    def clear(self) -> None:
        self.tlb.clear()
        self.there.clear()

    @invariant()
    def holds_what_it_should(self) -> None:
        if not hasattr(self, "tlb"):
            return
        around = sorted({v for _, v in self.there} | {0, 7, 519, TOP})
        for slot in (1, 2, 3):
            expected = [self.there.get((slot, vpn), -1) for vpn in around]
            assert [self.tlb.get(slot, vpn) for vpn in around] == expected
            values, good = self.tlb.get_many(slot, np.array(around, dtype=np.uint64))
            assert [int(v) if g else -1 for v, g in zip(values, good, strict=True)] == expected


TlbMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestTlb = TlbMachine.TestCase
