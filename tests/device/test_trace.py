"""The trace: what is in it, in which order, and what becomes of the device without it."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from fake_driver import PAGE, FakeDriver, Process

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.pagetable import PTE_ATOMIC, PTE_WRITE
from devmodel.abi.registers import Feature
from devmodel.abi.rings import ControlOp, RingHeader, Status
from devmodel.abi.trace import TRACE_MAGIC, TRACE_NONE, TraceKind, TraceRecord, TraceStart
from devmodel.device.config import ALONE
from devmodel.device.memory import HBM_BASE
from devmodel.device.programs import Memory, program
from devmodel.device.ring import Consumer
from devmodel.experiment.oracle.check import check
from devmodel.progress import Reporter


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver(trace=True)


@pytest.fixture
def process(driver: FakeDriver) -> Process:
    return driver.process()


def of(records: list[TraceRecord], kind: TraceKind) -> list[TraceRecord]:
    return [record for record in records if record.kind == kind]


def test_without_a_trace_there_is_no_ring() -> None:
    driver = FakeDriver()
    assert not driver.regs.features & Feature.TRACE
    assert (driver.regs.trace_offset, driver.regs.trace_entries) == (0, 0)
    assert driver.traced == b""


def test_the_registers_name_the_ring(driver: FakeDriver) -> None:
    assert driver.regs.features & Feature.TRACE
    geometry = driver.rings["trace"]
    assert driver.regs.trace_offset == geometry.offset
    assert driver.regs.trace_entries == 4096


def test_it_begins_with_the_device_and_ends_with_it(driver: FakeDriver) -> None:
    records = driver.end_trace()
    start = TraceStart.unpack(bytes(driver.traced))
    assert (start.kind, start.magic) == (TraceKind.START, TRACE_MAGIC)
    assert (start.layout_hash, start.hbm_size) == (LAYOUT_HASH, 8 << 20)
    assert (start.page_shift, start.generation, start.number) == (12, 1, 0)
    assert [record.kind for record in records] == [TraceKind.RESET, TraceKind.END]
    assert records[0].other == 1


def test_a_mapping_stands_before_its_use(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(8, "low")
    driver.run(1, "atomic_add", va, 2, 5)
    records = driver.end_trace()
    kinds = [r.kind for r in records if r.kind in (TraceKind.MAP, TraceKind.ACCESS)]
    assert kinds == [TraceKind.MAP, TraceKind.ACCESS, TraceKind.ACCESS]
    first, second = of(records, TraceKind.ACCESS)
    bus = process.pages[va // PAGE]
    for access in (first, second):
        assert (access.ctx, access.va, access.bus, access.npages) == (1, va, bus, 1)
        assert access.rights == PTE_WRITE | PTE_ATOMIC
    # Walked for, then in the TLB. The driver had created the context and replayed the fault.
    assert (first.other, second.other) == (1, 0)
    assert first.control == 2


@pytest.mark.parametrize("pages", [1, 40])
def test_what_the_driver_says_meanwhile_stands_in_between(pages: int) -> None:
    """Within one step of the device, too."""

    @program("listen")
    async def listen(memory: Memory, va: int) -> None:
        for ctx in (7, 8):
            await memory.load(va, pages * PAGE // 8)
            driver.tell(TraceKind.RELEASE, ctx=ctx)

    driver = FakeDriver(trace=True, programs={"listen": listen})
    process = driver.process()
    va = process.malloc(pages * PAGE, "low")
    for number in range(pages):
        process.map(va + number * PAGE, process.pages[va // PAGE + number], write=False)
    driver.run(1, "listen", va)
    records = [r for r in driver.end_trace() if r.kind in (TraceKind.ACCESS, TraceKind.RELEASE)]
    assert [r.ctx for r in records] == [1, 7, 1, 8]


def test_many_pages_are_runs_of_neighbours(driver: FakeDriver, process: Process) -> None:
    """Also where numpy translates them: pages 0 to 39, page 20 somewhere else."""
    va = process.malloc(40 * PAGE, "low")
    process.pages[va // PAGE + 20] = driver.frame("high")
    for number in range(40):
        process.map(va + number * PAGE, process.pages[va // PAGE + number], write=False)
    driver.run(1, "sum", va, 40 * PAGE // 8)
    driver.run(1, "sum", va, 40 * PAGE // 8)
    accesses = of(driver.end_trace(), TraceKind.ACCESS)
    runs = [((a.va - va) // PAGE, a.npages, a.bus, a.rights) for a in accesses]
    low, high = process.pages[va // PAGE], process.pages[va // PAGE + 20]
    expected = [(0, 20, low, 0), (20, 1, high, 0), (21, 19, low + 21 * PAGE, 0)]
    assert runs == expected * 2
    assert [a.other for a in accesses] == [20, 1, 19, 0, 0, 0]


def test_what_has_no_translation_is_no_access(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(40 * PAGE, "low")
    for number in range(30):
        process.map(va + number * PAGE, process.pages[va // PAGE + number], write=False)
    driver.launch(1, "sum", va, 40 * PAGE // 8)
    driver.settle()
    (access,) = of(driver.end_trace(), TraceKind.ACCESS)
    assert access.npages == 30


def test_control_commands_stand_where_they_were_acknowledged(
    driver: FakeDriver, process: Process
) -> None:
    va = process.malloc(8, "low")
    driver.run(1, "fill", va, 1, 5)
    process.unmap(va)
    assert driver.command(ControlOp.INVALIDATE, ctx=9, va=0, length=PAGE) == Status.NO_CONTEXT
    records = driver.end_trace()
    commands = of(records, TraceKind.CONTROL)
    assert [c.rights for c in commands] == [
        ControlOp.CONTEXT_CREATE,
        ControlOp.REPLAY,
        ControlOp.INVALIDATE,
        ControlOp.INVALIDATE,
    ]
    assert [c.control for c in commands] == [0, 1, 2, 3]
    assert [c.other for c in commands] == [Status.OK] * 3 + [Status.NO_CONTEXT]
    assert (commands[2].ctx, commands[2].va, commands[2].npages) == (1, va, 1)
    after = records[records.index(commands[2]) + 1 :]
    assert [r.kind for r in after[:2]] == [TraceKind.DIRTY, TraceKind.UPDATE]


@pytest.mark.parametrize("pages", [3, 20])
def test_copies_are_where_the_bytes_went(driver: FakeDriver, pages: int) -> None:
    """One by one, and in a batch."""
    low = [driver.frame("low") for _ in range(pages)]
    hbm = [driver.frame("hbm") for _ in range(pages)]
    driver.run_copy([(a, b, PAGE) for a, b in zip(low, hbm, strict=True)])
    driver.run_copy([(0, b, PAGE) for b in hbm], fill=7)
    copies = of(driver.end_trace(), TraceKind.COPY)
    pairs = [
        (c.other if c.other == TRACE_NONE else c.other + n * PAGE, c.bus + n * PAGE)
        for c in copies
        for n in range(c.npages)
    ]
    assert pairs == [*zip(low, hbm, strict=True), *((TRACE_NONE, b) for b in hbm)]


def test_a_copy_of_bytes_names_all_its_pages(driver: FakeDriver) -> None:
    source, target = driver.frame("low", count=3), driver.frame("hbm", count=3)
    driver.run_copy([(source + 8, target + 4088, PAGE)])
    driver.run_copy([(source, target + 4, PAGE + 3)])  # refused: not a multiple of 8
    (copy,) = of(driver.end_trace(), TraceKind.COPY)
    assert (copy.other, copy.bus, copy.npages) == (source, target, 2)


def test_the_drivers_records_are_taken_while_the_device_works(driver: FakeDriver) -> None:
    """More than the ring holds, and the device says at half of it that it wants a doorbell."""
    for number in range(10_000):
        driver.tell(TraceKind.FRAME_FREE, bus=HBM_BASE + number * PAGE, npages=1)
    driver.device.step()
    index = driver.trace.index
    assert driver.trace.header("consumed") == index
    assert driver.trace.header("event") == index + 2048
    freed = of(driver.end_trace(), TraceKind.FRAME_FREE)
    assert [record.bus for record in freed] == [HBM_BASE + n * PAGE for n in range(10_000)]


def test_an_index_that_cannot_be_leaves_a_hole(driver: FakeDriver) -> None:
    errors = driver.counters.errors
    driver.trace.set_header("produced", 1 << 40)
    driver.device.step()
    driver.device.step()
    assert driver.counters.errors == errors + 1
    assert len(of(driver.end_trace(), TraceKind.HOLE)) == 1


def test_a_driver_that_never_stops_telling(
    driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fast as its ring is emptied it is full again: a step ends all the same."""
    va = process.malloc(PAGE, "low")
    driver.run(1, "fill", va, 1, 5)
    entries = driver.hardware.trace_entries
    ring, taken = driver.trace, 0
    take = Consumer.take

    def take_and_tell(self: Consumer, count: int) -> bytes:
        nonlocal taken
        data = take(self, count)
        taken += len(data) // TraceRecord.SIZE
        assert taken <= 16 * entries
        ring.set_header("produced", (ring.header("consumed") + entries) % (1 << 64))
        return data

    monkeypatch.setattr(Consumer, "take", take_and_tell)
    ring.set_header("produced", ring.header("consumed") + 1)
    cookie = driver.launch(1, "atomic_add", va, 500, 1)
    for _ in range(5):
        taken = 0
        driver.device.step()
        assert taken
    monkeypatch.undo()
    driver.wait(cookie)
    assert 1 <= len(of(driver.end_trace(), TraceKind.HOLE)) <= 10


def test_a_reset_starts_the_ring_again(driver: FakeDriver) -> None:
    driver.tell(TraceKind.RELEASE, ctx=3)
    driver.reset()
    assert driver.trace.header("produced") == 0
    driver.tell(TraceKind.RELEASE, ctx=4)
    driver.device.step()
    records = driver.end_trace()
    assert [(r.kind, r.ctx) for r in records[1:-1]] == [
        (TraceKind.RELEASE, 3),
        (TraceKind.RESET, 0),
        (TraceKind.RELEASE, 4),
    ]


def test_a_device_that_was_started_again_does_not_repeat_the_ring(driver: FakeDriver) -> None:
    driver.tell(TraceKind.RELEASE, ctx=3)
    driver.device.step()
    driver.device.close()
    driver.device = driver.new_device(ALONE)
    driver.device.step()
    driver.reset()
    kinds = [record.kind for record in driver.end_trace()]
    assert kinds == [
        TraceKind.RESET,
        TraceKind.RELEASE,
        TraceKind.END,
        TraceKind.START,
        TraceKind.RESET,
        TraceKind.END,
    ]


def test_a_full_disk_ends_the_trace_and_not_the_device(caplog: pytest.LogCaptureFixture) -> None:
    driver = FakeDriver(trace=True)

    def full(_: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert driver.device._trace is not None
    driver.device._trace._sink = full
    process = driver.process()
    va = process.malloc(PAGE)
    for _ in range(3):
        driver.run(1, "fill", va, 512, 5)
        assert driver.device.arm()
    assert caplog.messages == ["the trace ends here: [Errno 28] No space left on device"]


def test_a_run_without_mistakes_has_no_violation(driver: FakeDriver, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, two = driver.process(1), driver.process(2)
    vas = [(p, p.malloc(64 * PAGE)) for p in (one, two)]
    for _ in range(100):
        process, va = vas[rng.integers(2)]
        first, count = int(rng.integers(60)), int(rng.integers(1, 4))
        match rng.integers(4):
            case 0:
                driver.run(process.ctx, "sum", va, 64 * PAGE // 8)
            case 1:
                driver.run(process.ctx, "fill", va + first * PAGE, count * PAGE // 8, 1)
            case _:
                process.unmap(va + first * PAGE, count)
    driver.end_trace()
    file = tmp_path / "device0.trace"
    file.write_bytes(driver.traced)
    verdict = check(file, Reporter(quiet=True))
    assert verdict.violations == ()
    assert verdict.accesses > 1000 and verdict.invalidates > 10


def test_a_header_of_the_ring_is_never_trusted(driver: FakeDriver) -> None:
    """Whatever the driver writes over it, the device goes on."""
    rng = np.random.default_rng(2)
    geometry = driver.rings["trace"]
    words = driver.region.view("<u8")[geometry.offset // 8 :][: RingHeader.SIZE // 8]
    for _ in range(50):
        words[:] = rng.integers(0, 1 << 63, words.size, dtype=np.uint64)
        driver.device.step()
        driver.device.arm()
