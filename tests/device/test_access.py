"""What programs read and write, with pages that come late, come singly, and go again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from fake_driver import PAGE, FakeDriver, Process
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel.abi.rings import ControlOp, FaultRecord, Status
from devmodel.device.programs import Memory, Program, program

PAGES = 24

Body = Callable[[Memory], Awaitable[object]]


def run(driver: FakeDriver, body: Body) -> None:
    """Run `body` as a program; it has to end well."""

    @program("body")
    async def declared(memory: Memory) -> None:
        await body(memory)

    programs: dict[str, Program] = driver.programs  # type: ignore[assignment]
    programs["body"] = declared
    completion = driver.run(1, "body")
    assert completion.status == Status.OK


class Moody:
    """Serves faults badly: of each record one page or some, and takes pages away meanwhile."""

    def __init__(self, driver: FakeDriver, process: Process, seed: int) -> None:
        self.driver, self.process, self.rng = driver, process, random.Random(seed)
        self.there: list[int] = []
        self.served = driver.resolve
        driver.resolve = self.resolve  # type: ignore[method-assign]

    def resolve(self, record: FaultRecord) -> bool:
        # Two pages at least stay: an element may need as many.
        while len(self.there) > 2 and self.rng.random() < 0.4:
            self.process.unmap(self.there.pop(0))
        record.npages = self.rng.randint(1, record.npages)
        self.there += [record.va + n * PAGE for n in range(record.npages)]
        return self.served(record)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 1 << 32),
    size=st.sampled_from([1, 3, 8, 24, 64, 500, PAGE]),
    count=st.sampled_from([1, 5, 39, 40, 41, 150]),
    burst=st.sampled_from([64, 5000, 1 << 20]),
    entries=st.sampled_from([1, 8, 4096]),
    placing=st.sampled_from(["aligned", "shifted", "at page ends"]),
)
def test_elements(seed: int, size: int, count: int, burst: int, entries: int, placing: str) -> None:
    driver = FakeDriver(programs={}, burst_bytes=burst, tlb_entries=entries)
    process = driver.process()
    rng = random.Random(seed)
    base = process.malloc(PAGES * PAGE)
    plain = bytearray(rng.randbytes(PAGES * PAGE))
    process.put(base, bytes(plain))
    Moody(driver, process, seed)
    for number in range(PAGES):
        if rng.random() < 0.3:
            process.map(base + number * PAGE, process.pages[base // PAGE + number], True)
    # Places that do not overlap, so that there is one right outcome of a scatter.
    if placing == "at page ends":
        starts = [n * PAGE - size + rng.randint(-2, 2) for n in range(1, PAGES, 2)]
        starts = [max(start, 0) for start in rng.sample(starts, len(starts))]
        # Padded to `count` with loads of one place, for the vectorised path.
        extra = max(count - len(starts), 0)
    else:
        slots = rng.sample(range(PAGES * PAGE // size), min(count, PAGES * PAGE // size))
        shift = 0 if placing == "aligned" else rng.randrange(size)
        starts = [slot * size + shift for slot in slots]
        starts = [start for start in starts if start + size <= len(plain)]
        extra = 0
    vas = np.array(starts, dtype=np.uint64) + np.uint64(base)
    values = np.frombuffer(rng.randbytes(size * len(starts)), dtype=f"V{size}")
    seen: list[bytes] = []

    async def body(memory: Memory) -> None:
        padded = np.concatenate((vas, np.full(extra, base, dtype=np.uint64)))
        seen.append((await memory.gather(padded, f"V{size}"))[: vas.size].tobytes())
        await memory.scatter(vas, values)
        seen.append((await memory.gather(vas, f"V{size}")).tobytes())

    run(driver, body)
    assert seen[0] == b"".join(bytes(plain[s : s + size]) for s in starts)
    assert seen[1] == values.tobytes()
    for start, value in zip(starts, values, strict=True):
        plain[start : start + size] = value.tobytes()
    assert process.get(base, PAGES * PAGE) == bytes(plain)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 1 << 32),
    start=st.integers(0, 3 * PAGE),
    length=st.integers(0, 20 * PAGE),
    burst=st.sampled_from([64, 5000, 1 << 20]),
    entries=st.sampled_from([1, 8, 4096]),
)
def test_ranges(seed: int, start: int, length: int, burst: int, entries: int) -> None:
    driver = FakeDriver(programs={}, burst_bytes=burst, tlb_entries=entries)
    process = driver.process()
    rng = random.Random(seed)
    base = process.malloc(PAGES * PAGE, rng.choice(["hbm", "mixed"]))
    plain = bytearray(rng.randbytes(PAGES * PAGE))
    process.put(base, bytes(plain))
    Moody(driver, process, seed)
    data = np.frombuffer(rng.randbytes(length), dtype=np.uint8)
    seen: list[bytes] = []

    async def body(memory: Memory) -> None:
        seen.append((await memory.load(base + start, length, np.uint8)).tobytes())
        await memory.store(base + start, data)
        seen.append((await memory.load(base + start, length, np.uint8)).tobytes())

    run(driver, body)
    assert seen == [bytes(plain[start : start + length]), data.tobytes()]
    plain[start : start + length] = data.tobytes()
    assert process.get(base, PAGES * PAGE) == bytes(plain)


def test_structured_and_multidimensional_data() -> None:
    driver = FakeDriver(programs={})
    process = driver.process()
    va = process.malloc(PAGE)
    kind = np.dtype([("a", "<u2"), ("b", "<f8"), ("c", "V3")])

    async def body(memory: Memory) -> None:
        record = np.array([(1, 2.5, b"xyz"), (2, -1.0, b"abc")], dtype=kind)
        await memory.store(va + 1, record)
        assert (await memory.load(va + 1, 2, kind) == record).all()
        again = await memory.gather([va + 1 + kind.itemsize, va + 1], kind)
        assert (again == record[::-1]).all()
        again["a"] = 7
        await memory.scatter([va + 1, va + 1 + kind.itemsize], again)
        await memory.store(va + 100, np.arange(12, dtype=np.int16).reshape(3, 4).T)
        assert (await memory.load(va + 100, 12, np.int16)).tolist() == [
            *(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)
        ]
        assert (await memory.load(va, 0)).size == 0
        assert (await memory.gather([])).size == 0
        await memory.scatter([], np.empty(0))

    run(driver, body)
    assert process.get(va + 1, 2) == b"\7\0"


def test_addresses_wrap_around() -> None:
    """An access that leaves the top comes back at 0, as pages, never as memory."""
    for count in (1, 100):
        driver = FakeDriver(programs={})
        process = driver.process()
        assert process

        @program("top")
        async def top(memory: Memory, many: int = count) -> None:
            await memory.gather(np.full(many, (1 << 64) - 4, dtype=np.uint64))

        driver.programs["top"] = top  # type: ignore[index]
        cookie = driver.launch(1, "top")
        driver.settle()
        records = [FaultRecord.unpack(driver.fault.take() or b"") for _ in range(2)]
        assert sorted(r.va for r in records) == [0, (1 << 64) - PAGE]
        driver.command(ControlOp.CANCEL, ctx=1, seq=1)
        driver.take_completions()
        assert driver.completions[cookie].status == Status.FAULT


@pytest.mark.parametrize("count", [1, 2, 39, 40, 41, 500, 8192])
@pytest.mark.parametrize("pages", [1, 2, 30])
def test_the_tlb_is_asked_once_for_each_page(count: int, pages: int) -> None:
    """However many elements lie in it, however few or many there are in all."""
    driver = FakeDriver(programs={})
    process = driver.process()
    va = process.malloc((pages + 1) * PAGE)
    vas = np.uint64(va) + np.uint64(PAGE) * (np.arange(count, dtype=np.uint64) % np.uint64(pages))
    touched = min(count, pages)
    seen: list[tuple[int, int]] = []

    async def body(memory: Memory) -> None:
        counters = driver.device.counters
        for access in ("gather", "gather", "scatter", "scatter", "crossing"):
            before = counters.tlb_hits, counters.tlb_misses
            if access == "gather":
                await memory.gather(vas)
            elif access == "scatter":
                await memory.scatter(vas, np.ones(count, dtype=np.uint64))
            else:
                await memory.gather(vas + np.uint64(PAGE - 4))
            seen.append((counters.tlb_hits - before[0], counters.tlb_misses - before[1]))

    for number in range(pages + 1):
        process.map(va + number * PAGE, process.pages[va // PAGE + number], True)
    run(driver, body)
    assert seen[:4] == [(0, touched), (touched, 0)] * 2
    assert sum(seen[4]) == touched + 1


@pytest.mark.parametrize("count", [1, 39, 40, 500])
def test_a_fault_is_a_miss_for_each_page(count: int) -> None:
    driver = FakeDriver(programs={})
    process = driver.process()
    vas = np.full(count, process.malloc(2 * PAGE) + PAGE - 4, dtype=np.uint64)

    async def body(memory: Memory) -> None:
        await memory.gather(vas)

    run(driver, body)
    counters = driver.counters
    assert (counters.tlb_hits, counters.tlb_misses, counters.walks_faulted) == (0, 4, 2)


def test_dirty_only_what_was_written(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(80 * PAGE)
    driver.run(1, "sum", va, 80 * 512)
    assert not any(process.pte(va + n * PAGE) >> 57 & 1 for n in range(80))
    driver.run(1, "fill", va + PAGE, 60 * 512, 1)
    dirty = [process.pte(va + n * PAGE) >> 57 & 1 for n in range(80)]
    assert dirty == [0] + [1] * 60 + [0] * 19
