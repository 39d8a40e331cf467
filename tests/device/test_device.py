"""The device as its driver meets it: identification, reset, control ring, faults, doorbells."""

from __future__ import annotations

import numpy as np
import pytest
from fake_driver import HIGH_BASE, LOW_RAM, PAGE, FakeDriver, Process

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.registers import (
    CONTROL_REGION,
    HBM_ALIGN,
    MAGIC,
    DeviceRegs,
    DeviceState,
    Feature,
    Model,
    Vector,
)
from devmodel.abi.rings import EVENT_NEVER, Access, ControlOp, FaultRecord, RingHeader, Status
from devmodel.device import Device, DeviceConfig, Hardware, Identity
from devmodel.device.config import DeviceModel
from devmodel.device.programs import BUILTIN, Memory, program

# Identification


def test_registers_identify_the_device() -> None:
    driver = FakeDriver(start=False, identity=Identity(5, 7, 3), page_shift=16)
    regs = driver.regs
    assert (regs.magic, regs.layout_hash) == (MAGIC, LAYOUT_HASH)
    assert (regs.number, regs.generation, regs.peer, regs.page_shift) == (5, 7, 3, 16)
    assert (regs.model, regs.state) == (Model.PRIVATE, DeviceState.READY)
    assert (regs.hbm_size, regs.hbm_offset, regs.region_size) == (8 << 20, 0, CONTROL_REGION)
    assert regs.features == Feature.HBM | Feature.HUGE_LEAVES | Feature.EVENT_SUPPRESSION
    assert regs.reset_ack == 0
    ends = [RingHeader.SIZE]
    for name, size in zip(
        ("control", "copy", "compute", "completion", "fault"), (64, 64, 128, 64, 64), strict=True
    ):
        offset, entries = getattr(regs, f"{name}_offset"), getattr(regs, f"{name}_entries")
        assert offset >= ends[-1]
        assert offset % 64 == 0
        assert entries & (entries - 1) == 0
        ends.append(offset + RingHeader.SIZE + entries * size)
    assert ends[-1] <= CONTROL_REGION


@pytest.mark.parametrize(
    "wrong",
    [
        {"tlb_entries": 3},
        {"copy_entries": 0},
        {"page_shift": 11},
        {"burst_bytes": 0},
        {"fault_entries": 1 << 20},
    ],
)
def test_impossible_hardware(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0] + "|rings"):
        Hardware(**wrong)


@pytest.mark.parametrize("model", DeviceModel)
def test_registers_say_what_is_described(model: DeviceModel) -> None:
    """The same object goes from a machine's description to the device."""
    in_bar = model in (DeviceModel.COHERENT, DeviceModel.NUMA, DeviceModel.CDM)
    node = 3 if model in (DeviceModel.NUMA, DeviceModel.CDM) else None
    size = 0 if model is DeviceModel.MIRROR else HBM_ALIGN
    config = DeviceConfig(model=model, hbm=size, node=node)
    region = np.zeros(CONTROL_REGION, np.uint8)
    hbm = np.zeros(size, np.uint8) if size else None
    Device(config, region.data, [], hbm, lambda _: None)
    regs = DeviceRegs.unpack(region.tobytes())
    assert regs.model == Model[model.name]
    assert (regs.hbm_size, regs.node) == (size, node or 0)
    assert regs.hbm_offset == (HBM_ALIGN if in_bar else 0)
    assert regs.region_size == (2 * HBM_ALIGN if in_bar else CONTROL_REGION)
    assert bool(regs.features & Feature.HBM) == bool(size)
    assert bool(regs.features & Feature.HBM_IN_BAR) == in_bar


def test_hbm_must_have_the_configured_size() -> None:
    config = DeviceConfig(hbm=2 << 20)
    with pytest.raises(ValueError, match="hbm"):
        Device(config, np.zeros(CONTROL_REGION, np.uint8).data, [], None, lambda _: None)


# Reset


def test_idles_until_a_driver_comes() -> None:
    driver = FakeDriver(start=False)
    driver.post_control(ControlOp.NOP)
    assert not driver.device.step()
    assert driver.device.arm()
    assert driver.control.header("consumed") == 0
    assert driver.regs.heartbeat == 1
    driver.set_epoch(1)
    assert not driver.device.arm(), "slept over a driver that asks for a reset"
    driver.reset()
    assert driver.command(ControlOp.NOP) == Status.OK


def test_reset_drops_everything(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    driver.run(1, "fill", va, 1, 1)
    driver.launch(1, "atomic_add", va, 1 << 40, 1)
    waiting = driver.launch(1, "sum", process.malloc(PAGE), 1)
    copied = driver.post_copy([(PAGE, HIGH_BASE, 1 << 20)] * 50)
    for _ in range(3):
        driver.device.step()
    assert driver.counters.tlb_misses
    served = len(driver.faults_served)
    driver.reset()
    assert driver.counters == DeviceCounters(**{f.name: 0 for f in DeviceCounters.FIELDS})
    for ring in (driver.control, driver.copy, driver.compute, driver.completion, driver.fault):
        assert ring.header("produced") == ring.header("consumed") == 0
    assert not driver.device.step(), "something of the old epoch still runs"
    assert driver.completion.take() is None
    # The context is gone, and fault records begin again.
    assert driver.command(ControlOp.CONTEXT_DESTROY, ctx=1) == Status.NO_CONTEXT
    process = driver.process()
    driver.faults_served.clear()
    assert served
    assert driver.run(1, "sum", process.malloc(PAGE), 1).status == Status.OK
    assert driver.faults_served[0].seq == 0
    assert not {waiting, copied} & set(driver.completions)


def test_a_restarted_device_waits_for_a_new_epoch(driver: FakeDriver, process: Process) -> None:
    """The rings on the region are of a driver whose contexts died with the old agent."""
    assert process.ctx == 1
    driver.post_control(ControlOp.NOP)
    driver.device = driver.new_device(Identity(generation=2))
    assert not driver.device.step()
    assert driver.regs.generation == 2
    assert driver.control.header("consumed") == 1, "a command of the old life was taken"
    driver.reset()
    assert driver.command(ControlOp.INVALIDATE, ctx=1, va=0, length=PAGE) == Status.NO_CONTEXT


def test_a_restarted_device_serves_a_reset_asked_for_meanwhile(driver: FakeDriver) -> None:
    driver.set_epoch(9)
    driver.device = driver.new_device(Identity(generation=2))
    driver.device.step()
    assert driver.regs.reset_ack == 9


def test_heartbeat_rises_at_every_step(driver: FakeDriver) -> None:
    before = driver.regs.heartbeat
    for _ in range(5):
        driver.device.step()
    assert driver.regs.heartbeat == before + 5


# Control ring


def test_control_statuses(driver: FakeDriver, process: Process) -> None:
    root = process.root
    cases: list[tuple[int, dict[str, int], Status]] = [
        (ControlOp.NOP, {}, Status.OK),
        (99, {}, Status.BAD_COMMAND),
        (ControlOp.CONTEXT_CREATE, {"ctx": 1, "root": root}, Status.BAD_ARGUMENT),
        (ControlOp.CONTEXT_CREATE, {"ctx": 2, "root": root + 8}, Status.BAD_ADDRESS),
        (ControlOp.CONTEXT_CREATE, {"ctx": 2, "root": LOW_RAM}, Status.BAD_ADDRESS),
        (ControlOp.CONTEXT_CREATE, {"ctx": (1 << 32) - 1, "root": root}, Status.OK),
        (ControlOp.CONTEXT_DESTROY, {"ctx": 5}, Status.NO_CONTEXT),
        (ControlOp.INVALIDATE, {"ctx": 5, "length": PAGE}, Status.NO_CONTEXT),
        (ControlOp.INVALIDATE, {"ctx": 1, "length": 0}, Status.BAD_ARGUMENT),
        (ControlOp.INVALIDATE, {"ctx": 1, "va": 8, "length": PAGE}, Status.BAD_ARGUMENT),
        (ControlOp.INVALIDATE, {"ctx": 1, "length": PAGE + 8}, Status.BAD_ARGUMENT),
        (ControlOp.INVALIDATE, {"ctx": 1, "length": 1 << 48}, Status.OK),
        (ControlOp.INVALIDATE, {"ctx": 1, "va": 1 << 63, "length": PAGE}, Status.OK),
        (ControlOp.INVALIDATE, {"ctx": 1, "va": 0, "length": (1 << 64) - PAGE}, Status.OK),
        (ControlOp.REPLAY, {"seq": (1 << 64) - 1}, Status.OK),
        (ControlOp.CANCEL, {"seq": 12345}, Status.OK),
        (ControlOp.STOP, {"cookie": 12345}, Status.OK),
    ]
    for opcode, fields, expected in cases:
        assert driver.command(opcode, **fields) == expected, (opcode, fields)
    assert driver.counters.errors == sum(case[2] != Status.OK for case in cases)
    assert driver.counters.invalidates_acknowledged == 3


def test_control_comes_before_anything_else(driver: FakeDriver, process: Process) -> None:
    """An invalidate waits for one burst at most, however much there is to do."""
    va = process.malloc(PAGE)
    driver.run(1, "fill", va, 1, 1)
    driver.launch(1, "atomic_add", va, 1 << 40, 1)
    driver.post_copy([(PAGE, HIGH_BASE, 8 << 20)] * 100)
    for _ in range(20):
        index = driver.post_control(ControlOp.INVALIDATE, ctx=1, va=va, length=PAGE)
        driver.device.step()
        assert driver.control.header("consumed") == index + 1


def test_stop(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    running = driver.launch(1, "atomic_add", va, 1 << 40, 1)
    driver.serve_faults()
    driver.device.step()
    driver.serve_faults()
    driver.device.step()
    queued = driver.launch(1, "atomic_add", va, 1 << 40, 1)
    for cookie in (queued, running):
        assert driver.command(ControlOp.STOP, cookie=cookie) == Status.OK
        # The completion is there when the command is acknowledged.
        driver.take_completions()
        assert driver.completions[cookie].status == Status.KILLED
    driver.settle()
    assert driver.counters.programs == 2


def test_stop_of_a_suspended_program(driver: FakeDriver, process: Process) -> None:
    cookie = driver.launch(1, "sum", process.malloc(PAGE), 1)
    driver.device.step()
    assert driver.command(ControlOp.STOP, cookie=cookie) == Status.OK
    assert driver.command(ControlOp.REPLAY, ctx=1, seq=0) == Status.OK
    driver.settle()
    assert driver.completions[cookie].status == Status.KILLED


def test_destroyed_context_is_never_touched_again(driver: FakeDriver) -> None:
    process, other = driver.process(1), driver.process(2)
    va = process.malloc(8 * PAGE)
    there = other.malloc(PAGE)
    ids = [driver.launch(1, "atomic_add", va, 1 << 40, 1), driver.launch(1, "sum", va + PAGE, 1)]
    for _ in range(4):
        driver.device.step()
        driver.serve_faults()
    running = driver.launch(2, "atomic_add", there + 8, 1000, 1)
    driver.device.step()
    driver.serve_faults()
    ids.append(driver.launch(1, "fill", va, 8, 1))
    survivor = driver.launch(2, "atomic_add", there, 1000, 1)
    # All in one go: the launches are in the ring when the context goes.
    index = driver.post_control(ControlOp.CONTEXT_DESTROY, ctx=1)
    driver.device.step()
    assert driver.control.header("consumed") == index + 1
    driver.take_completions()
    assert {driver.completions[c].status for c in ids if c in driver.completions} <= {
        Status.KILLED,
        Status.OK,
    }
    assert driver.completions[ids[0]].status == Status.KILLED
    assert driver.completions[ids[2]].status == Status.KILLED
    driver.low[process.root : process.root + PAGE] = 0xFF
    before = process.get(va, PAGE)
    assert driver.wait(survivor).result[0] == 1000
    assert driver.wait(running).result[0] == 1000
    assert process.get(va, PAGE) == before
    assert (driver.low[process.root : process.root + PAGE] == 0xFF).all()
    assert driver.run(1, "sum", va, 1).status == Status.NO_CONTEXT


# Launches


def test_launch_statuses(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    assert driver.run(9, "sum", va, 1).status == Status.NO_CONTEXT
    assert driver.run(1, "no_such", va, 1).status == Status.NO_PROGRAM
    assert driver.run(1, "", va, 1).status == Status.NO_PROGRAM
    assert driver.run(1, "sum", va).status == Status.BAD_ARGUMENT
    assert driver.counters.errors == 4
    assert driver.counters.programs == 4


def test_as_many_programs_as_wait(process: Process) -> None:
    """More launches than may run wait in the ring, and all end."""
    driver = FakeDriver(max_programs=2)
    process = driver.process()
    va = process.malloc(PAGE)
    cookies = [driver.launch(1, "atomic_add", va, 3, 1) for _ in range(20)]
    driver.settle()
    assert not driver.device.step(), "there is no work: both wait for a page"
    assert driver.compute.header("consumed") == 2
    assert driver.device.arm()
    for cookie in cookies:
        assert driver.wait(cookie).status == Status.OK
    assert process.words(va, 1)[0] == 60


@program("wrong")
async def wrong(memory: Memory, how: int) -> object:
    """Everything that a user's program can do wrong."""
    match how:
        case 0:
            raise RuntimeError("on purpose")
        case 1:
            raise SystemExit(3)
        case 2:
            return "text"
        case 3:
            return (1, 2, 3)
        case 4:
            await memory.load(8, 1 << 40)
        case 5:
            await memory.gather(np.zeros((2, 2), dtype=np.uint64))
        case 6:
            await memory.scatter([1, 2], [1])
        case 7:
            await memory.gather([1.5])
        case 8:
            await memory.load(8, -1)
        case 9:
            await memory.load(8, 1, object)
        case 10:
            import asyncio

            await asyncio.sleep(1)
        case 11:
            await memory.gather([8], "V5000")
    return None


@program("stubborn")
async def stubborn(memory: Memory) -> None:
    """Does not want to end."""
    while True:
        try:
            await memory.pause()
        except GeneratorExit:
            await memory.pause()


def test_programs_that_are_wrong(caplog: pytest.LogCaptureFixture) -> None:
    driver = FakeDriver(programs=BUILTIN | {"wrong": wrong, "stubborn": stubborn})
    process = driver.process()
    for how in range(12):
        caplog.clear()
        assert driver.run(1, "wrong", how).status == Status.PROGRAM_ERROR, how
        assert "program wrong" in caplog.text
    assert driver.run(1, "wrong", 99).status == Status.OK
    cookie = driver.launch(1, "stubborn")
    driver.device.step()
    assert driver.command(ControlOp.STOP, cookie=cookie) == Status.OK
    driver.take_completions()
    assert driver.completions[cookie].status == Status.KILLED
    assert driver.run(1, "sum", process.malloc(PAGE), 1).status == Status.OK


# Faults


def test_a_gather_reports_all_its_pages_in_one_batch(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(300 * PAGE)
    completion = driver.run(1, "fill", va, 300 * 512, 5)
    assert completion.status == Status.OK
    # One access of 65536 words at a time, and each is one run.
    assert [record.npages for record in driver.faults_served] == [128, 128, 44]
    driver.faults_served.clear()


@program("touch")
async def touch(memory: Memory, first: int, count: int, stride: int) -> int:
    """Gather a word from each of `count` pages, `stride` bytes apart."""
    addresses = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(stride)
    return int((await memory.gather(addresses)).sum())


@pytest.mark.parametrize("burst", [1 << 20, 4096])
def test_fault_records_are_merged_and_bounded(burst: int) -> None:
    driver = FakeDriver(programs={"touch": touch}, burst_bytes=burst)
    process = driver.process()
    pages = 700
    va = process.malloc(pages * PAGE, "low")
    for number in range(pages):
        process.put(va + number * PAGE, number.to_bytes(8, "little"))
    batches: list[int] = []
    cookie = driver.launch(1, "touch", va, pages, PAGE)
    while cookie not in driver.completions:
        driver.device.step()
        batch = driver.fault.header("produced") - driver.fault.index
        batches += [batch] if batch else []
        driver.serve_faults()
        driver.take_completions()
    assert driver.completions[cookie].result[0] == sum(range(pages))
    if burst == 1 << 20:
        assert [record.npages for record in driver.faults_served] == [512, 188]
        assert all(record.access == Access.READ for record in driver.faults_served)
    # Every second page: a record each, at most 64 at a time.
    driver.reset()
    driver.faults_served.clear()
    process = driver.process()
    va = process.malloc(pages * PAGE, "high")
    cookie = driver.launch(1, "touch", va, 100, 2 * PAGE)
    driver.settle()
    if burst == 1 << 20:
        assert driver.fault.header("produced") == 64
    assert driver.wait(cookie).status == Status.OK
    assert len(driver.faults_served) == 100
    assert driver.counters.fault_records == 100


def test_an_access_to_more_pages_than_can_be_there_at_a_time_ends() -> None:
    """HBM may hold fewer pages than one gather needs: what is there is done at once."""
    driver = FakeDriver(programs=BUILTIN | {"touch": touch})
    process = driver.process()
    va = process.malloc(100 * PAGE)
    there: list[int] = []

    def evict(record: FaultRecord) -> None:
        there.append(record.va)
        while len(there) > 3:
            process.unmap(there.pop(0))

    # One page a record, of which three stay.
    plain = driver.resolve
    driver.resolve = lambda record: plain(replace_pages(record))  # type: ignore[method-assign]
    driver.on_fault = evict
    for count in (100, 30):
        assert driver.run(1, "touch", va, count, PAGE).status == Status.OK
    assert driver.run(1, "fill", va, 100 * 512, 3).status == Status.OK
    assert (process.words(va, 100 * 512) == 3).all()


def replace_pages(record: FaultRecord) -> FaultRecord:
    record.npages = 1
    return record


def test_replay_waits_for_the_last_record(driver: FakeDriver, process: Process) -> None:
    """A program with several records goes on only when all of them are replayed."""
    driver = FakeDriver(programs={"touch": touch})
    process = driver.process()
    va = process.malloc(9 * PAGE)
    cookie = driver.launch(1, "touch", va, 3, 4 * PAGE)
    driver.settle()
    assert driver.fault.header("produced") == 3
    for number in range(9):
        process.map(va + number * PAGE, process.pages[va // PAGE + number], False)
    driver.command(ControlOp.REPLAY, ctx=1, seq=1)
    driver.settle()
    assert cookie not in driver.completions
    driver.command(ControlOp.REPLAY, ctx=1, seq=2)
    driver.settle()
    assert driver.completions[cookie].status == Status.OK
    assert driver.counters.replays == 1


def test_replay_without_a_translation_faults_again(driver: FakeDriver, process: Process) -> None:
    cookie = driver.launch(1, "sum", process.malloc(PAGE), 1)
    for seq in range(5):
        driver.settle()
        assert driver.fault.header("produced") == seq + 1
        driver.command(ControlOp.REPLAY, ctx=1, seq=seq)
    assert cookie not in driver.completions


def test_cancel_of_any_record_of_a_batch() -> None:
    driver = FakeDriver(programs={"touch": touch})
    process = driver.process()
    va = process.malloc(9 * PAGE)
    cookie = driver.launch(1, "touch", va, 3, 4 * PAGE)
    driver.settle()
    assert driver.command(ControlOp.CANCEL, ctx=1, seq=1) == Status.OK
    driver.take_completions()
    completion = driver.completions[cookie]
    assert (completion.status, completion.fault_va) == (Status.FAULT, va + 4 * PAGE)
    assert driver.command(ControlOp.CANCEL, ctx=1, seq=2) == Status.OK
    assert driver.command(ControlOp.REPLAY, ctx=1, seq=2) == Status.OK
    driver.settle()
    assert driver.counters.programs == 1


def test_replay_and_cancel_are_of_one_context(driver: FakeDriver) -> None:
    """What is said of another context's records, or of the same numbers in it, is not theirs."""
    first, second = driver.process(1), driver.process(2)
    mine = driver.launch(1, "sum", first.malloc(PAGE), 1)
    theirs = driver.launch(2, "sum", second.malloc(PAGE), 1)
    driver.settle()
    assert driver.fault.header("produced") == 2
    driver.command(ControlOp.REPLAY, ctx=2, seq=0)
    driver.command(ControlOp.CANCEL, ctx=2, seq=0)
    driver.command(ControlOp.CANCEL, ctx=1, seq=1)
    driver.settle()
    assert driver.counters.replays == 0
    assert not driver.completions
    driver.command(ControlOp.REPLAY, ctx=1, seq=1)
    driver.settle()
    assert driver.counters.replays == 1
    driver.command(ControlOp.CANCEL, ctx=2, seq=1)
    driver.settle()
    assert driver.completions[theirs].status == Status.FAULT
    assert mine not in driver.completions


def test_a_full_fault_ring_keeps_records_back() -> None:
    driver = FakeDriver(programs={"touch": touch}, fault_entries=4)
    process = driver.process()
    va = process.malloc(60 * PAGE)
    cookies = [driver.launch(1, "touch", va, 10, 2 * PAGE) for _ in range(3)]
    stopped = driver.launch(1, "touch", va, 10, 2 * PAGE)
    driver.settle()
    assert driver.fault.header("produced") == 4
    # Its records are still in the device, and are never seen.
    driver.command(ControlOp.STOP, cookie=stopped)
    # Records that were not written yet cannot have been served.
    driver.command(ControlOp.REPLAY, ctx=1, seq=(1 << 64) - 1)
    driver.settle()
    assert driver.counters.replays == 0
    for cookie in cookies:
        assert driver.wait(cookie).status == Status.OK
    assert stopped not in [record.cookie for record in driver.faults_served]


def test_munmap_under_a_running_program_is_never_a_stale_access(
    driver: FakeDriver, process: Process
) -> None:
    va = process.malloc(PAGE)
    cookie = driver.launch(1, "atomic_add", va, 1 << 40, 1)
    for _ in range(10):
        driver.device.step()
        driver.serve_faults()
    frame = process.pages.pop(va // PAGE)
    assert driver.word(frame) > 0
    process.unmap(va)
    after = driver.word(frame)
    completion = driver.wait(cookie)
    assert (completion.status, completion.fault_va) == (Status.FAULT, va)
    assert driver.word(frame) == after


# Completions and doorbells


def test_a_full_completion_ring_loses_nothing() -> None:
    driver = FakeDriver(completion_entries=4, max_programs=4)
    process = driver.process()
    va = process.malloc(PAGE)
    driver.run(1, "fill", va, 1, 1)
    cookies = [driver.launch(1, "sum", va, 1) for _ in range(20)]
    for _ in range(200):
        driver.device.step()
    assert driver.completion.header("produced") - driver.completion.index == 4
    assert driver.compute.header("consumed") < 20, "launches are taken that cannot be reported"
    # What waits for the guest alone is no work: the device may sleep.
    assert not driver.device.step()
    assert driver.device.arm()
    for cookie in cookies:
        assert driver.wait(cookie).status == Status.OK


def test_one_doorbell_for_a_batch(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    driver.run(1, "sum", va, 1)
    driver.rung.clear()
    driver.ask_for_doorbells(Vector.COMPLETION, True)
    for _ in range(10):
        driver.launch(9, "sum", va, 1)
    driver.device.step()
    assert driver.rung == [Vector.COMPLETION]
    driver.settle()
    assert driver.rung == [Vector.COMPLETION]


def test_no_doorbell_that_nobody_wants(driver: FakeDriver, process: Process) -> None:
    driver.ask_for_doorbells(Vector.COMPLETION, False)
    driver.ask_for_doorbells(Vector.FAULT, False)
    driver.rung.clear()
    driver.run(1, "sum", process.malloc(PAGE), 1)
    assert driver.rung == []


def test_faults_ring_their_own_vector(driver: FakeDriver, process: Process) -> None:
    driver.rung.clear()
    driver.ask_for_doorbells(Vector.FAULT, True)
    driver.ask_for_doorbells(Vector.COMPLETION, False)
    driver.launch(1, "sum", process.malloc(PAGE), 1)
    driver.settle()
    assert driver.rung == [Vector.FAULT]


def test_arm_asks_for_doorbells_and_looks_again(driver: FakeDriver) -> None:
    driver.command(ControlOp.NOP)
    driver.settle()
    assert driver.device.arm()
    events = [ring.header("event") for ring in (driver.control, driver.copy, driver.compute)]
    assert events == [1, 0, 0]
    driver.device.step()
    events = [ring.header("event") for ring in (driver.control, driver.copy, driver.compute)]
    assert events == [EVENT_NEVER] * 3
    driver.post_control(ControlOp.NOP)
    assert not driver.device.arm(), "went to sleep over a command"
    driver.settle()
    driver.post_copy([])
    assert not driver.device.arm()
    driver.settle()
    driver.launch(9, "sum")
    assert not driver.device.arm()
    driver.settle()
    assert driver.device.arm()


def test_what_is_told_is_counted(driver: FakeDriver, process: Process) -> None:
    """A driver that hears of an end, or of an acknowledgement, finds the counters up to date."""
    va = process.malloc(PAGE)
    driver.run(1, "fill", va, 1, 1)
    told: list[int] = []
    device = driver.device
    device._interrupt = lambda _: told.append(driver.counters.programs)
    driver.ask_for_doorbells(Vector.COMPLETION, True)
    driver.run(1, "sum", va, 1)
    assert told == [2]
    driver.launch(1, "atomic_add", va, 1 << 40, 1)
    driver.device.step()
    seen: list[tuple[int, int, int]] = []
    advance = device._control.advance

    def acknowledge() -> None:
        ended = driver.completion.header("produced")
        seen.append((driver.counters.invalidates_acknowledged, driver.counters.programs, ended))
        advance()

    device._control.advance = acknowledge  # type: ignore[method-assign]
    driver.post_control(ControlOp.INVALIDATE, ctx=1, va=va, length=PAGE)
    driver.post_control(ControlOp.CONTEXT_DESTROY, ctx=1)
    driver.device.step()
    assert seen == [(1, 2, 2), (1, 3, 3)]


def test_a_killed_launch_is_forgotten_when_the_index_jumps(driver: FakeDriver) -> None:
    process = driver.process()
    va = process.malloc(PAGE)
    driver.run(1, "sum", va, 1)
    # Two looks at the control ring a step: the second one's STOP finds the launch in the ring.
    victim = driver.launch(1, "sum", va, 1)
    driver.command(ControlOp.STOP, cookie=victim)
    driver.settle()
    index = driver.compute.index
    victims = [driver.launch(1, "sum", va, 1) for _ in range(2)]
    killed = driver.device._killed
    driver.device._kill_waiting_launches(lambda launch: launch.cookie in victims)
    assert killed == {index, index + 1}
    driver.compute.set_header("produced", index + 5000)
    driver.device.step()
    driver.compute.set_header("produced", index)
    driver.device.step()
    driver.compute.index = index
    again = driver.launch(1, "sum", va, 1)
    assert driver.wait(again).status == Status.OK


def test_counters_of_programs(driver: FakeDriver, process: Process) -> None:
    near, far = process.malloc(4 * PAGE, "hbm"), process.malloc(4 * PAGE, "high")
    driver.run(1, "copy", near, far, 3 * PAGE)
    driver.run(1, "copy", far, near, PAGE)
    driver.run(1, "sum", near, 4)
    counters = driver.counters
    assert counters.remote_bytes_read == 3 * PAGE
    assert counters.local_bytes_written == 3 * PAGE
    assert counters.remote_bytes_written == PAGE
    assert counters.local_bytes_read == PAGE + 32
    assert counters.programs == 3
    assert counters.errors == 0
