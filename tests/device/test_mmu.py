"""Walker and TLB against a plain dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from fake_driver import HIGH_BASE, HIGH_RAM, LOW_RAM, PAGE, FakeDriver, Process
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.pagetable import (
    PTE_ACCESSED,
    PTE_ADDRESS,
    PTE_APERTURE,
    PTE_APERTURE_SHIFT,
    PTE_DIRTY,
    PTE_LEAF,
    PTE_VALID,
    PTE_WRITE,
    Aperture,
)
from devmodel.abi.rings import ControlOp, Status
from devmodel.device.memory import HBM_BASE, BadAddress, Memory
from devmodel.device.mmu import MANY, NO_TRANSLATION, Context, Mmu

HUGE = 2 << 20
# Two 2 MiB regions next to each other, and one that differs from them in the top level.
REGIONS = (0x7F00_0000_0000, 0x7F00_0020_0000, 0x10_0000_0000)


def mmu_of(driver: FakeDriver) -> Mmu:
    return driver.device._mmu


def look(driver: FakeDriver, ctx: int, vas: list[int], write: bool, many: bool) -> list[int]:
    """Translate addresses of distinct pages, one by one or all at once."""
    mmu = mmu_of(driver)
    context = mmu.context(ctx)
    assert context is not None
    if not many:
        return [mmu.translate(context, va, write) for va in vas]
    # Padded with pages that are never there, so that it is the vectorised walker that runs.
    padding = [(1 << 35) + i for i in range(MANY)]
    vpns = np.array([va >> mmu.page_shift for va in vas] + padding, dtype=np.uint64)
    frames, good = mmu.translate_pages(context, vpns, write)
    assert not good[len(vas) :].any()
    low = mmu.page_size - 1
    return [
        int(frame) + (va & low) if found else NO_TRANSLATION
        for va, frame, found in zip(vas, frames, good, strict=False)
    ]


class MmuMachine(RuleBasedStateMachine):
    """Map, protect, unmap and access, in two contexts, with a TLB that is too small.

    `there` says what each page's translation is for the driver; `fresh` what may still be used
    of one that was taken away and not yet invalidated.
    """

    contexts = st.sampled_from([1, 2])
    pages = st.builds(
        lambda region, page: REGIONS[region] + page * PAGE,
        st.integers(0, 2),
        st.sampled_from([0, 1, 511]),
    )

    @initialize(entries=st.sampled_from([1, 4, 64]))
    def start(self, entries: int) -> None:
        self.driver = FakeDriver(tlb_entries=entries)
        self.processes = {ctx: self.driver.process(ctx) for ctx in (1, 2)}
        self.frames = [self.driver.frame(where) for where in ("low", "high", "hbm") * 4]
        self.there: dict[tuple[int, int], tuple[int, bool]] = {}
        self.stale: dict[tuple[int, int], set[tuple[int, bool]]] = {}
        self.dirty: set[tuple[int, int]] = set()
        self.accessed: set[tuple[int, int]] = set()

    @rule(
        ctx=contexts,
        vas=st.lists(pages, min_size=1, unique=True),
        frame=st.integers(0, 11),
        write=st.booleans(),
    )
    def map(self, ctx: int, vas: list[int], frame: int, write: bool) -> None:
        for number, va in enumerate(vas):
            if (ctx, va) not in self.there and (ctx, va) not in self.stale:
                bus = self.frames[(frame + number) % len(self.frames)]
                self.processes[ctx].map(va, bus, write)
                self.there[ctx, va] = bus, write

    @rule(ctx=contexts, va=pages)
    def make_writable(self, ctx: int, va: int) -> None:
        """No invalidate is needed to give more rights."""
        if (ctx, va) in self.there and (ctx, va) not in self.stale:
            self.set_bits(ctx, va, PTE_WRITE, True)
            self.there[ctx, va] = self.there[ctx, va][0], True

    @rule(ctx=contexts, va=pages)
    def protect(self, ctx: int, va: int) -> None:
        if (ctx, va) in self.there:
            self.remember(ctx, va)
            self.set_bits(ctx, va, PTE_WRITE, False)
            self.there[ctx, va] = self.there[ctx, va][0], False

    @rule(ctx=contexts, va=pages)
    def clear_valid(self, ctx: int, va: int) -> None:
        if (ctx, va) in self.there:
            self.remember(ctx, va)
            self.set_bits(ctx, va, PTE_VALID, False)
            del self.there[ctx, va]

    def remember(self, ctx: int, va: int) -> None:
        self.stale.setdefault((ctx, va), set()).add(self.there[ctx, va])

    def set_bits(self, ctx: int, va: int, bits: int, on: bool) -> None:
        address = self.processes[ctx].entry(va)
        assert address is not None
        old = self.driver.word(address)
        self.driver.set_word(address, old | bits if on else old & ~bits)

    @rule(ctx=contexts, va=pages, count=st.sampled_from([1, 3, 20, 1 << 30]))
    def invalidate(self, ctx: int, va: int, count: int) -> None:
        """After the acknowledgement DIRTY is final: the driver takes it and clears the entry."""
        self.driver.invalidate(ctx, va, count * PAGE)
        for key in [k for k in self.stale if k[0] == ctx and va <= k[1] < va + count * PAGE]:
            del self.stale[key]
            if key in self.there:
                continue
            entry = self.processes[ctx].pte(key[1])
            assert bool(entry & PTE_DIRTY) == (key in self.dirty)
            assert bool(entry & PTE_ACCESSED) == (key in self.accessed)
            address = self.processes[ctx].entry(key[1])
            assert address is not None
            self.driver.set_word(address, 0)
            self.dirty.discard(key)
            self.accessed.discard(key)

    @rule(
        ctx=contexts,
        vas=st.lists(pages, min_size=1, unique=True),
        write=st.booleans(),
        many=st.booleans(),
        offset=st.integers(0, PAGE - 1),
    )
    def access(self, ctx: int, vas: list[int], write: bool, many: bool, offset: int) -> None:
        found = look(self.driver, ctx, [va + offset for va in vas], write, many)
        for va, bus in zip(vas, found, strict=True):
            now = self.there.get((ctx, va))
            may = {now} if now else {None}
            may |= self.stale.get((ctx, va), set())
            allowed = {
                entry[0] + offset if entry and (entry[1] or not write) else NO_TRANSLATION
                for entry in may
            }
            assert bus in allowed
            if bus != NO_TRANSLATION:
                self.accessed.add((ctx, va))
                if write:
                    self.dirty.add((ctx, va))

    @rule(ctx=contexts, region=st.integers(0, 2))
    def age(self, ctx: int, region: int) -> None:
        """What is accessed from now on shows, and what was written stays dirty."""
        va = REGIONS[region]
        status = self.driver.command(ControlOp.AGE, ctx=ctx, va=va, length=HUGE)
        assert status == Status.OK
        for number in (0, 1, 511):
            page = va + number * PAGE
            # The device does not look at what is not there; that waits for an invalidate.
            if (ctx, page) in self.there:
                self.stale.pop((ctx, page), None)
                self.accessed.discard((ctx, page))

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def dirty_is_seen_at_once(self, data: st.DataObject) -> None:
        """The page table says DIRTY exactly if the device wrote, without any invalidate."""
        ctx, va = data.draw(st.sampled_from(sorted(self.there)))
        entry = self.processes[ctx].pte(va)
        assert bool(entry & PTE_DIRTY) == ((ctx, va) in self.dirty)
        assert bool(entry & PTE_ACCESSED) == ((ctx, va) in self.accessed)
        assert (entry & PTE_ADDRESS | entry & PTE_APERTURE) == self.there[ctx, va][0]


MmuMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=50)
TestMmu = MmuMachine.TestCase

BOTH = pytest.mark.parametrize("many", [False, True], ids=["scalar", "vector"])


@BOTH
def test_huge_leaf(driver: FakeDriver, process: Process, many: bool) -> None:
    bus = HIGH_BASE + 2 * HUGE
    process.map(REGIONS[0], bus, write=True, leaf_level=1)
    vas = [REGIONS[0] + n * PAGE + 5 for n in (0, 1, 511)]
    assert look(driver, 1, vas, False, many) == [bus + (va - REGIONS[0]) for va in vas]
    address = process.entry(REGIONS[0], leaf_level=1)
    assert address is not None
    assert driver.word(address) & (PTE_ACCESSED | PTE_DIRTY) == PTE_ACCESSED
    look(driver, 1, vas[1:2], True, many)
    assert driver.word(address) & PTE_DIRTY
    assert look(driver, 1, [REGIONS[0] + HUGE], False, many) == [NO_TRANSLATION]


@BOTH
def test_invalidate_of_one_page_drops_the_huge_leaf(
    driver: FakeDriver, process: Process, many: bool
) -> None:
    """A driver that splits a leaf invalidates what changes, and hardware drops the whole leaf."""
    process.map(REGIONS[0], HIGH_BASE, write=True, leaf_level=1)
    vas = [REGIONS[0] + n * PAGE for n in range(40)]
    look(driver, 1, vas, True, many)
    address = process.entry(REGIONS[0], leaf_level=1)
    assert address is not None
    driver.set_word(address, 0)
    assert look(driver, 1, vas, True, many) == [HIGH_BASE + n * PAGE for n in range(40)]
    driver.invalidate(1, vas[17], PAGE)
    assert look(driver, 1, vas, True, many) == [NO_TRANSLATION] * 40
    assert driver.counters.tlb_dropped == 40


@BOTH
def test_age_of_a_huge_leaf(driver: FakeDriver, process: Process, many: bool) -> None:
    process.map(REGIONS[0], HIGH_BASE, write=True, leaf_level=1)
    address = process.entry(REGIONS[0], leaf_level=1)
    assert address is not None
    look(driver, 1, [REGIONS[0] + 7 * PAGE], True, many)
    aged = driver.command(ControlOp.AGE, ctx=1, va=REGIONS[0] + 99 * PAGE, length=PAGE)
    assert aged == Status.OK
    assert driver.word(address) & (PTE_ACCESSED | PTE_DIRTY) == PTE_DIRTY
    look(driver, 1, [REGIONS[0] + 7 * PAGE], False, many)
    assert driver.word(address) & PTE_ACCESSED


@pytest.mark.parametrize(
    ("ctx", "va", "length", "status"),
    [
        (1, 0, 512 * PAGE, Status.OK),
        (1, (1 << 48) - PAGE, 2 * PAGE, Status.OK),
        (1, 0, 513 * PAGE, Status.BAD_ARGUMENT),
        (1, 0, (1 << 64) - PAGE, Status.BAD_ARGUMENT),
        (1, 0, 0, Status.BAD_ARGUMENT),
        (1, 8, PAGE, Status.BAD_ARGUMENT),
        (1, 0, 8, Status.BAD_ARGUMENT),
        (1, 1 << 63, PAGE, Status.OK),
        (2, 0, PAGE, Status.NO_CONTEXT),
    ],
)
def test_what_may_be_aged(
    driver: FakeDriver, process: Process, ctx: int, va: int, length: int, status: Status
) -> None:
    assert process.ctx == 1
    assert driver.command(ControlOp.AGE, ctx=ctx, va=va, length=length) == status


@BOTH
def test_tlb_counters(driver: FakeDriver, process: Process, many: bool) -> None:
    padding = MANY if many else 0
    vas = [REGIONS[0] + n * PAGE for n in range(3)]
    for va in vas[:2]:
        process.map(va, driver.frame(), write=False)
    for _ in range(3):
        look(driver, 1, vas, False, many)
    driver.settle()
    counters = driver.counters
    assert counters.tlb_hits == 4
    assert counters.tlb_misses == 2 + 3 * (1 + padding)
    assert counters.walks_faulted == 3 * (1 + padding)
    driver.invalidate(1, vas[0], 3 * PAGE)
    assert driver.counters.tlb_dropped == 2


@BOTH
@pytest.mark.parametrize("page_shift", [12, 14, 16])
def test_other_page_sizes(page_shift: int, many: bool) -> None:
    driver = FakeDriver(page_shift=page_shift)
    process = driver.process()
    size = 1 << page_shift
    vas = [size * 3, size << 9, (size << 27) + size]
    for number, va in enumerate(vas):
        process.map(va, HIGH_BASE + number * size, write=False)
    found = look(driver, 1, [va + size - 1 for va in vas], False, many)
    assert found == [HIGH_BASE + n * size + size - 1 for n in range(3)]


BAD_LEAVES = {
    "beyond RAM": LOW_RAM,
    "in the hole": LOW_RAM + PAGE,
    "beyond high RAM": HIGH_BASE + HIGH_RAM,
    "beyond HBM": HBM_BASE + (8 << 20),
    "no such aperture": 5 << 52,
    "the last page of all": PTE_ADDRESS,
}


@BOTH
@pytest.mark.parametrize("bus", BAD_LEAVES.values(), ids=BAD_LEAVES)
def test_bad_leaf_is_a_fault(driver: FakeDriver, process: Process, bus: int, many: bool) -> None:
    process.map(REGIONS[0], bus, write=True)
    before = driver.low.copy()
    assert look(driver, 1, [REGIONS[0]], True, many) == [NO_TRANSLATION]
    assert (driver.low == before).all(), "a page that is not there was marked as used"


@BOTH
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(
    "entry",
    [
        LOW_RAM | PTE_VALID,
        PTE_ADDRESS | PTE_VALID,
        HIGH_BASE + HIGH_RAM | PTE_VALID,
        PAGE,
    ],
    ids=["hole", "end", "after RAM", "not valid"],
)
def test_bad_table_is_a_fault(
    driver: FakeDriver, process: Process, level: int, entry: int, many: bool
) -> None:
    process.map(REGIONS[0], driver.frame(), write=True)
    address = process.entry(REGIONS[0], leaf_level=level)
    assert address is not None
    driver.set_word(address, entry)
    assert look(driver, 1, [REGIONS[0]], False, many) == [NO_TRANSLATION]


@BOTH
@pytest.mark.parametrize("level", [1, 2, 3])
def test_table_in_hbm_is_a_fault(
    driver: FakeDriver, process: Process, level: int, many: bool
) -> None:
    """Even if its offset is that of a good table in guest RAM."""
    process.map(REGIONS[0], driver.frame(), write=True)
    address = process.entry(REGIONS[0], leaf_level=level)
    assert address is not None
    assert look(driver, 1, [REGIONS[0]], False, many) != [NO_TRANSLATION]
    driver.invalidate(1, 0, 1 << 48)
    driver.set_word(address, driver.word(address) | Aperture.HBM << PTE_APERTURE_SHIFT)
    assert look(driver, 1, [REGIONS[0]], False, many) == [NO_TRANSLATION]


@BOTH
def test_bits_of_the_device_byte_stay(driver: FakeDriver, process: Process, many: bool) -> None:
    """A read of a page that is DIRTY already, but not ACCESSED, keeps it DIRTY."""
    process.map(REGIONS[0], driver.frame(), write=True)
    address = process.entry(REGIONS[0])
    assert address is not None
    driver.set_word(address, driver.word(address) | PTE_DIRTY)
    look(driver, 1, [REGIONS[0]], False, many)
    assert driver.word(address) >> 56 == (PTE_DIRTY | PTE_ACCESSED) >> 56


@BOTH
@pytest.mark.parametrize("level", [2, 3])
def test_leaf_above_2_mib_is_a_fault(
    driver: FakeDriver, process: Process, level: int, many: bool
) -> None:
    process.map(REGIONS[0], HIGH_BASE, write=True, leaf_level=level)
    assert look(driver, 1, [REGIONS[0]], False, many) == [NO_TRANSLATION]


@BOTH
def test_table_that_points_to_itself(driver: FakeDriver, process: Process, many: bool) -> None:
    """Four steps lead anywhere; the leaf is then the table itself."""
    driver.set_word(process.root, process.root | PTE_VALID)
    assert look(driver, 1, [8], False, many) == [process.root + 8]


@BOTH
def test_addresses_beyond_48_bits_never_alias(
    driver: FakeDriver, process: Process, many: bool
) -> None:
    """Page numbers share a word with the context's tag in the TLB."""
    process.map(REGIONS[0], driver.frame(), write=True)
    look(driver, 1, [REGIONS[0]], True, False)
    high = [REGIONS[0] + (n << 48) for n in (1, 2, 3, 0xFFFF)]
    assert look(driver, 1, high, False, many) == [NO_TRANSLATION] * 4


@BOTH
def test_contexts_do_not_share(driver: FakeDriver, many: bool) -> None:
    one, two = driver.process(1), driver.process(2)
    for number, process in enumerate((one, two)):
        process.map(REGIONS[0], HIGH_BASE + number * PAGE, write=True)
    for ctx in (1, 2, 1):
        assert look(driver, ctx, [REGIONS[0]], True, many) == [HIGH_BASE + (ctx - 1) * PAGE]
    driver.invalidate(1, 0, 1 << 48)
    one.unmap(REGIONS[0])
    assert look(driver, 1, [REGIONS[0]], False, many) == [NO_TRANSLATION]
    assert look(driver, 2, [REGIONS[0]], False, many) == [HIGH_BASE + PAGE]


def test_a_new_context_inherits_no_translation(driver: FakeDriver) -> None:
    driver.process(1).map(REGIONS[0], HIGH_BASE, write=True)
    look(driver, 1, [REGIONS[0]], True, False)
    assert driver.command(ControlOp.CONTEXT_DESTROY, ctx=1) == Status.OK
    driver.process(1)
    assert look(driver, 1, [REGIONS[0]], False, False) == [NO_TRANSLATION]


def test_only_byte_7_is_stored() -> None:
    """What the driver stores beside it at the same moment must not be undone."""
    ram = np.zeros(8 * PAGE, dtype=np.uint8)
    memory = Memory([(0, ram)])
    stores: list[tuple[int, int]] = []
    plain_write, plain_or = memory.write, memory.or_bytes

    def write(bus: int, data: bytes) -> None:
        stores.append((bus % 8, len(data)))
        plain_write(bus, data)

    def or_bytes(bus: np.ndarray, bits: int) -> None:
        stores.extend((int(b) % 8, 1) for b in bus)
        plain_or(bus, bits)

    memory.write, memory.or_bytes = write, or_bytes  # type: ignore[method-assign,assignment]
    memory.write_word = lambda *_: pytest.fail("a whole entry was stored")
    words = ram.view("<u8")
    for level in range(3):
        words[512 * level] = (level + 1) * PAGE | PTE_VALID
    words[512 * 3 : 512 * 3 + 64] = 5 * PAGE | PTE_VALID | PTE_WRITE
    mmu = Mmu(memory, DeviceCounters(), 12, 64)
    context = mmu.create(1, 0)
    assert isinstance(context, Context)
    mmu.translate(context, 0, True)
    mmu.translate_pages(context, np.arange(64, dtype=np.uint64), True)
    assert len(stores) == 64
    assert set(stores) == {(7, 1)}
    assert (words[512 * 3 : 512 * 3 + 64] >> np.uint64(56) == 3).all()


def test_no_context_at_an_impossible_root(driver: FakeDriver) -> None:
    mmu = mmu_of(driver)
    for root in (8, LOW_RAM, HBM_BASE, (1 << 64) - PAGE, PTE_LEAF):
        with pytest.raises(BadAddress):
            mmu.create(1, root)
