"""The DMA engine against a bytearray, its statuses, its bounds and its order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fake_driver import HIGH_BASE, HIGH_RAM, LOW_RAM, PAGE, FakeDriver
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel.abi.rings import CopyCommand, CopyEntry, CopyOp, Engine, Status
from devmodel.device.memory import HBM_BASE

# The last MiB of each kind of memory: the fake driver's own lists are far below.
AREA = 1 << 20
AREAS = (LOW_RAM - AREA, HIGH_BASE + HIGH_RAM - AREA, HBM_BASE + (8 << 20) - AREA)

PLACES = st.builds(
    lambda area, page, offset: AREAS[area] + page * PAGE + offset,
    st.integers(0, 2),
    st.integers(0, 15),
    st.sampled_from([0, 0, 0, 8, 1024, 3]),
)
LENGTHS = st.sampled_from([PAGE, PAGE, PAGE, PAGE, 0, 8, 64, 3 * PAGE, 5000, 12])
OUTSIDE = st.sampled_from([LOW_RAM, HIGH_BASE - PAGE, 7 << 52, (1 << 64) - 8, HBM_BASE - 8])
ENTRIES = st.tuples(st.one_of(PLACES, PLACES, PLACES, OUTSIDE), PLACES | OUTSIDE, LENGTHS)


def inside(bus: int, length: int) -> bool:
    ranges = ((0, LOW_RAM), (HIGH_BASE, HIGH_RAM), (HBM_BASE, 8 << 20))
    return any(base <= bus < base + size and bus + length <= base + size for base, size in ranges)


class Plain:
    """What the memory must be afterwards, kept in plain bytes."""

    def __init__(self, driver: FakeDriver) -> None:
        self.parts = {area: bytearray(driver.memory(area, AREA)) for area in AREAS}

    def at(self, bus: int) -> tuple[bytearray, int]:
        area = max(a for a in AREAS if a <= bus)
        return self.parts[area], bus - area

    def do(self, src: int, dst: int, length: int, fill: int | None) -> Status:
        if length % 8:
            return Status.BAD_ARGUMENT
        if not inside(dst, length) or (fill is None and not inside(src, length)):
            return Status.BAD_ADDRESS
        if fill is None:
            if length and src < dst + length and dst < src + length:
                return Status.BAD_ARGUMENT
            data, start = self.at(src)
            source = bytes(data[start : start + length])
        else:
            source = fill.to_bytes(8, "little") * (length // 8)
        data, start = self.at(dst)
        data[start : start + length] = source
        return Status.OK


@settings(max_examples=80)
@given(
    entries=st.lists(ENTRIES, max_size=40),
    fill=st.none() | st.none() | st.integers(0, (1 << 64) - 1),
    burst=st.sampled_from([1 << 20, 50_001, 8192, 100]),
    seed=st.integers(0, 3),
)
def test_any_list(
    entries: list[tuple[int, int, int]], fill: int | None, burst: int, seed: int
) -> None:
    driver = FakeDriver(burst_bytes=burst)
    rng = random.Random(seed)
    for area in AREAS:
        driver.memory(area, AREA)[:] = np.frombuffer(rng.randbytes(AREA), np.uint8)
    plain = Plain(driver)
    expected = [plain.do(*entry, fill) for entry in entries]
    completion, statuses = driver.run_copy(entries, fill)
    assert statuses == expected
    failed = sum(status != Status.OK for status in expected)
    assert completion.result == (failed, 0)
    assert completion.status == (Status.BAD_ADDRESS if failed else Status.OK)
    assert completion.engine == Engine.COPY
    for area, data in plain.parts.items():
        assert driver.memory(area, AREA).tobytes() == bytes(data)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=8, max_size=60))
def test_pages_that_depend_on_each_other_are_copied_in_order(pairs: list[tuple[int, int]]) -> None:
    """A batch reads all its sources before it writes; such lists must not become one."""
    driver = FakeDriver()
    base = AREAS[0]
    driver.memory(base, AREA).view("<u8")[::512] = np.arange(AREA // PAGE)
    plain = list(range(AREA // PAGE))
    for src, dst in pairs:
        if src != dst:
            plain[dst] = plain[src]
    _, statuses = driver.run_copy([(base + s * PAGE, base + d * PAGE, PAGE) for s, d in pairs])
    assert statuses == [Status.BAD_ARGUMENT if s == d else Status.OK for s, d in pairs]
    assert driver.memory(base, AREA).view("<u8")[::512].tolist() == plain


def test_counters_tell_the_directions(driver: FakeDriver) -> None:
    low, high, hbm = AREAS
    pages = 20
    for src, dst in ((low, hbm), (hbm, high), (low, high), (hbm, hbm + AREA // 2)):
        entries = [(src + n * PAGE, dst + n * PAGE, PAGE) for n in range(pages)]
        _, statuses = driver.run_copy(entries)
        assert statuses == [Status.OK] * pages
        driver.run_copy([(src, dst, 24)])
    driver.run_copy([(0, hbm, 4 * PAGE)], fill=1)
    counters = driver.counters
    assert counters.copy_bytes_to_device == pages * PAGE + 24
    assert counters.copy_bytes_to_system == pages * PAGE + 24
    assert counters.copy_bytes_local == 2 * (pages * PAGE + 24) + 4 * PAGE


def test_lists_complete_in_order_and_one_burst_is_bounded() -> None:
    driver = FakeDriver(burst_bytes=64 << 10)
    pages = 64
    entries = [(AREAS[0] + n * PAGE, AREAS[2] + n * PAGE, PAGE) for n in range(pages)]
    cookies = [driver.post_copy(entries) for _ in range(3)]
    cookies.append(driver.post_copy([(AREAS[0], AREAS[1], AREA // 2)]))
    seen: list[int] = []
    before = 0
    while len(seen) < 4:
        driver.device.step()
        now = driver.counters.copy_bytes_to_device + driver.counters.copy_bytes_local
        assert now - before <= (64 << 10) + PAGE
        before = now
        driver.take_completions()
        seen += [cookie for cookie in driver.completions if cookie not in seen]
    assert seen == cookies


@pytest.mark.parametrize(
    ("opcode", "count", "where", "status"),
    [
        (0, 1, PAGE, Status.BAD_COMMAND),
        (99, 1, PAGE, Status.BAD_COMMAND),
        (CopyOp.COPY, 1, LOW_RAM, Status.BAD_ADDRESS),
        (CopyOp.COPY, 2, LOW_RAM - CopyEntry.SIZE, Status.BAD_ADDRESS),
        (CopyOp.COPY, (1 << 32) - 1, 0, Status.BAD_ADDRESS),
        (CopyOp.FILL, 1, (1 << 64) - 8, Status.BAD_ADDRESS),
    ],
)
def test_refused_lists(
    driver: FakeDriver, opcode: int, count: int, where: int, status: Status
) -> None:
    driver.copy.push(CopyCommand(opcode=opcode, count=count, cookie=5, list=where).pack())
    driver.settle()
    assert driver.completions[5].status == status
    assert driver.completions[5].result == (count, 0)
    assert driver.counters.errors == 1


def test_an_empty_list_completes(driver: FakeDriver) -> None:
    completion, _ = driver.run_copy([])
    assert completion.status == Status.OK


def test_a_list_of_nothing_is_bounded_too(driver: FakeDriver) -> None:
    """Entries without bytes use up no burst; the engine looks at so many at a time only."""
    count = 50_000
    where = driver.frame("high", count=count * CopyEntry.SIZE // PAGE + 1)
    driver.copy.push(CopyCommand(opcode=CopyOp.FILL, count=count, cookie=5, list=where).pack())
    steps = 0
    while not driver.completions:
        driver.device.step()
        driver.take_completions()
        steps += 1
    assert steps > 5
    assert driver.completions[5].status == Status.OK


def test_a_list_that_overwrites_itself_is_done_as_it_was_posted(driver: FakeDriver) -> None:
    """What is looked at is a copy: a guest that changes a list meanwhile changes nothing."""
    where, target = driver.next_frame["low"], AREAS[0]
    _, statuses = driver.run_copy([(0, where + 24, 16), (0, target, 8)], fill=0x5555)
    assert statuses == [Status.OK, Status.OK]
    assert driver.word(target) == 0x5555
    # The same as a batch of whole pages, the first of which is the list's own.
    where = driver.next_frame["low"]
    pages = [(0, AREAS[2] + n * PAGE, PAGE) for n in range(20)]
    before = driver.counters.copy_bytes_local
    driver.run_copy([(0, where, PAGE), *pages], fill=(1 << 64) - 1)
    assert (driver.memory(AREAS[2], 20 * PAGE) == 255).all()
    assert driver.counters.copy_bytes_local == before + 21 * PAGE


CHANGES = st.tuples(
    st.sampled_from(["src", "dst", "length", "status"]),
    st.sampled_from([0, 8, 12, PAGE, 1 << 19, AREAS[0], AREAS[2], LOW_RAM, (1 << 32) - 8]),
)


@settings(max_examples=60)
@given(
    changes=st.lists(CHANGES, min_size=1, max_size=6),
    fill=st.none() | st.just(0x77),
    burst=st.sampled_from([8192, 50_001, 64 << 10]),
    trace=st.booleans(),
)
def test_an_entry_in_flight_stays_what_it_was(
    changes: list[tuple[str, int]], fill: int | None, burst: int, trace: bool
) -> None:
    """One that takes many bursts is read when it is begun, and not again."""
    driver = FakeDriver(burst_bytes=burst, trace=trace)
    src, dst, length = AREAS[0], AREAS[2], AREA // 2
    data = np.frombuffer(random.Random(burst).randbytes(length), np.uint8)
    driver.memory(src, length)[:] = data
    cookie = driver.post_copy([(src, dst, length)], fill)
    entry = driver.memory(driver.list_at, CopyEntry.SIZE)
    moved = 0
    while cookie not in driver.completions:
        driver.device.step()
        driver.take_completions()
        counters = driver.counters
        now = counters.copy_bytes_to_device + counters.copy_bytes_local
        assert moved <= now <= moved + burst + PAGE
        moved = now
        if changes and cookie not in driver.completions:
            name, value = changes.pop(0)
            at = CopyEntry.offset(name)
            size = 8 if name in ("src", "dst") else 4
            entry[at : at + size] = np.frombuffer(value.to_bytes(8, "little")[:size], np.uint8)
    assert moved == length
    assert driver.completions[cookie].status == Status.OK
    assert int(entry[CopyEntry.offset("status") :].view("<u4")[0]) == Status.OK
    expected = data if fill is None else np.full(length // 8, fill, "<u8").view(np.uint8)
    assert (driver.memory(dst, length) == expected).all()
