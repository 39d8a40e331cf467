"""The worked examples of docs/device.md, with its numbers."""

from __future__ import annotations

import numpy as np
from fake_driver import HIGH_BASE, PAGE, FakeDriver, Process

from devmodel.abi.registers import Vector
from devmodel.abi.rings import (
    Access,
    ComputeCommand,
    ControlOp,
    CopyCommand,
    CopyEntry,
    CopyOp,
    Engine,
    FaultRecord,
    Status,
)

HBM = 0x0010_0000_0000_0000


def test_worked_dma(driver: FakeDriver) -> None:
    for _ in range(9):
        driver.run_copy([])
    driver.settle()
    assert driver.device.arm()
    assert driver.copy.header("event") == driver.copy.header("produced") == 9
    driver.ask_for_doorbells(Vector.COMPLETION, True)
    driver.rung.clear()
    # 0x1a2b3000 is beyond the RAM of these tests: the other piece stands in for it.
    sources = (HIGH_BASE + 0x3000, 0x7000)
    targets = (HBM, HBM + 0x5000)
    for number, source in enumerate(sources):
        driver.memory(source, PAGE)[:] = number + 1
    raw = b"".join(
        CopyEntry(src=src, dst=dst, length=0x1000, status=0xFFFF).pack()
        for src, dst in zip(sources, targets, strict=True)
    )
    driver.memory(0x4440, len(raw))[:] = np.frombuffer(raw, np.uint8)
    driver.copy.push(CopyCommand(opcode=CopyOp.COPY, count=2, cookie=77, list=0x4440).pack())
    driver.device.step()
    assert driver.rung == [Vector.COMPLETION]
    assert driver.copy.header("consumed") == 10
    for number, target in enumerate(targets):
        assert (driver.memory(target, PAGE) == number + 1).all()
        entry = CopyEntry.unpack(driver.memory(0x4440 + 24 * number, 24).data)
        assert entry.status == Status.OK
    driver.take_completions()
    completion = driver.completions[77]
    assert (completion.engine, completion.status) == (Engine.COPY, Status.OK)
    assert completion.result == (0, 0)
    assert driver.counters.copy_bytes_to_device == 8192


def test_worked_fault(driver: FakeDriver) -> None:
    va, frame = 0x7F12_3456_7010, 0x2B3000
    process = Process(driver, 5, 0x10000)
    driver.next_frame["low"] = 0x20000
    assert driver.command(ControlOp.CONTEXT_CREATE, ctx=5, root=0x10000) == Status.OK
    driver.ask_for_doorbells(Vector.FAULT, True)
    driver.rung.clear()
    driver.set_word(frame + 0x10, 100)
    driver.compute.push(
        ComputeCommand(cookie=41, ctx=5, nargs=3, program=b"atomic_add", args=(va, 2, 10)).pack()
    )
    driver.settle()
    assert driver.rung == [Vector.FAULT]
    record = FaultRecord.unpack(driver.fault.take() or b"")
    assert record == FaultRecord(
        seq=0, cookie=41, va=0x7F12_3456_7000, ctx=5, access=Access.ATOMIC, npages=1
    )
    process.map(va, frame, write=True, atomic=True)
    assert process.pte(va) == 0x0000_0000_002B_3013
    assert driver.word(0x10000 + 0xFE * 8) & 1
    driver.command(ControlOp.REPLAY, ctx=5, seq=0)
    driver.settle()
    assert process.pte(va) == 0x0300_0000_002B_3013
    completion = driver.completions[41]
    assert (completion.engine, completion.status) == (Engine.COMPUTE, Status.OK)
    assert completion.result == (120, 0)
    assert driver.word(frame + 0x10) == 120
    counters = driver.counters
    assert (counters.tlb_misses, counters.walks_faulted, counters.tlb_hits) == (2, 1, 1)
    address = process.entry(va)
    assert address is not None
    driver.set_word(address, driver.word(address) & ~1)
    driver.invalidate(5, 0x7F12_3456_7000, PAGE)
    assert driver.word(address) == 0x0300_0000_002B_3012


def test_worked_cancel(driver: FakeDriver) -> None:
    driver.process(5)
    cookie = driver.launch(5, "atomic_add", 0x7F12_3456_7010, 2, 10)
    driver.settle()
    driver.command(ControlOp.CANCEL, ctx=5, seq=0)
    driver.take_completions()
    completion = driver.completions[cookie]
    assert completion.status == Status.FAULT
    assert completion.fault_va == 0x7F12_3456_7000
    assert completion.fault_access == Access.ATOMIC
