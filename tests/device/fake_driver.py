"""A driver without a guest: builds page tables in fake guest RAM, posts commands, serves faults.

Everything happens in one thread: a wait steps the device. The processes that it plays have
their pages scattered over both pieces of RAM and, on request, over HBM. With `trace=True` it tells
the coherence oracle what it does, and `traced` is what the device wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.pagetable import (
    LEVEL_BITS,
    LEVELS,
    PTE_ADDRESS,
    PTE_APERTURE,
    PTE_ATOMIC,
    PTE_DIRTY,
    PTE_LEAF,
    PTE_VALID,
    PTE_WRITE,
)
from devmodel.abi.registers import (
    CONTROL_REGION,
    COUNTER_PAGE,
    DEVICE_PAGE,
    DRIVER_PAGE,
    DeviceRegs,
    DriverRegs,
    Vector,
)
from devmodel.abi.rings import (
    EVENT_NEVER,
    Access,
    Completion,
    ComputeCommand,
    ControlCommand,
    ControlOp,
    CopyCommand,
    CopyEntry,
    CopyOp,
    FaultRecord,
    RingHeader,
    Status,
)
from devmodel.abi.trace import TraceKind, TraceRecord
from devmodel.device import Device, DeviceConfig, Hardware, Identity
from devmodel.device.config import ALONE, DeviceModel
from devmodel.device.faults import NO_FAULTS, Faults
from devmodel.device.hardware import RingGeometry
from devmodel.device.memory import HBM_BASE
from devmodel.device.programs import BUILTIN, Program

LOW_RAM = 16 << 20
HIGH_RAM = 16 << 20
HIGH_BASE = 4 << 30
PAGE = 4096
MOST_STEPS = 200_000


class Ring:
    """The driver's end of a ring; `index` is the next message to write or to take."""

    def __init__(self, region: np.ndarray, geometry: RingGeometry) -> None:
        self.geometry = geometry
        self.bytes = region
        self.words = region.view("<u8")[geometry.offset // 8 :]
        self.index = 0

    def header(self, name: str) -> int:
        return int(self.words[RingHeader.offset(name) // 8])

    def set_header(self, name: str, value: int) -> None:
        self.words[RingHeader.offset(name) // 8] = value

    def slot(self, index: int) -> slice:
        geometry = self.geometry
        start = geometry.offset + RingHeader.SIZE
        start += index % geometry.entries * geometry.entry_size
        return slice(start, start + geometry.entry_size)

    def room(self) -> int:
        return self.geometry.entries - (self.index - self.header("consumed"))

    def push(self, message: bytes) -> int:
        """Write one message; its index."""
        assert self.room() > 0
        self.bytes[self.slot(self.index)] = np.frombuffer(message, dtype=np.uint8)
        self.index += 1
        self.set_header("produced", self.index)
        return self.index - 1

    def take(self) -> bytes | None:
        """Take one message, if there is one."""
        if self.header("produced") == self.index:
            return None
        message = self.bytes[self.slot(self.index)].tobytes()
        self.index += 1
        self.set_header("consumed", self.index)
        return message


@dataclass
class Process:
    """An address space: `pages` says where each page is, `writable` what may be stored to.

    Pages in `shared` are never the device's alone, others are on its demand. The device's page
    table under `root` holds what faults have put there.
    """

    driver: FakeDriver
    ctx: int
    root: int
    pages: dict[int, int] = field(default_factory=dict)
    writable: set[int] = field(default_factory=set)
    shared: set[int] = field(default_factory=set)
    brk: int = 0x5555_5555_0000

    def malloc(self, size: int, where: str = "mixed", write: bool = True) -> int:
        """`size` bytes (rounded up to pages) of zeros; the address. A hole follows."""
        va = self.brk
        count = -(-size // PAGE)
        for number in range(count):
            bus = self.driver.frame(where)
            self.driver.memory(bus, PAGE)[:] = 0
            self.pages[va // PAGE + number] = bus
            if write:
                self.writable.add(va // PAGE + number)
        self.brk += (count + 1) * PAGE
        return va

    def put(self, va: int, data: bytes | np.ndarray) -> None:
        """Store as the CPU does."""
        raw = np.frombuffer(bytes(data) if isinstance(data, bytes) else data.tobytes(), np.uint8)
        done = 0
        while done < raw.size:
            at = va + done
            length = min(PAGE - at % PAGE, raw.size - done)
            bus = self.pages[at // PAGE] + at % PAGE
            self.driver.memory(bus, length)[:] = raw[done : done + length]
            done += length

    def get(self, va: int, size: int) -> bytes:
        """Load as the CPU does."""
        parts, done = [], 0
        while done < size:
            at = va + done
            length = min(PAGE - at % PAGE, size - done)
            parts.append(self.driver.memory(self.pages[at // PAGE] + at % PAGE, length).tobytes())
            done += length
        return b"".join(parts)

    def words(self, va: int, count: int) -> np.ndarray:
        return np.frombuffer(self.get(va, 8 * count), dtype="<u8")

    # The device's page table

    def entry(self, va: int, make: bool = False, leaf_level: int = 0) -> int | None:
        """Guest-physical address of the entry for `va` at `leaf_level`."""
        table = self.root
        shift = self.driver.hardware.page_shift
        for level in range(LEVELS - 1, leaf_level - 1, -1):
            index = (va >> (shift + LEVEL_BITS * level)) & 511
            address = table + 8 * index
            if level == leaf_level:
                return address
            entry = self.driver.word(address)
            if not entry & PTE_VALID:
                if not make:
                    return None
                entry = self.driver.frame("low", zero=True) | PTE_VALID
                self.driver.set_word(address, entry)
            table = entry & PTE_ADDRESS
        raise AssertionError

    def map(
        self, va: int, bus: int, write: bool, leaf_level: int = 0, atomic: bool = False
    ) -> None:
        address = self.entry(va, make=True, leaf_level=leaf_level)
        assert address is not None
        value = bus & (PTE_ADDRESS | PTE_APERTURE) | PTE_VALID
        value |= PTE_WRITE * write | PTE_LEAF * bool(leaf_level) | PTE_ATOMIC * atomic
        self.driver.tell(
            TraceKind.MAP,
            ctx=self.ctx,
            va=va,
            npages=512 if leaf_level else 1,
            bus=value & (PTE_ADDRESS | PTE_APERTURE),
            rights=value & ~(PTE_ADDRESS | PTE_APERTURE),
        )
        self.driver.set_word(address, value)

    def pte(self, va: int) -> int:
        address = self.entry(va)
        return 0 if address is None else self.driver.word(address)

    def unmap(self, va: int, npages: int = 1) -> None:
        """Take translations away, as the ABI says: VALID, invalidate, then the entry."""
        entries = [self.entry(va + n * PAGE) for n in range(npages)]
        for address in entries:
            if address is not None:
                self.driver.set_word(address, self.driver.word(address) & ~PTE_VALID)
        self.driver.invalidate(self.ctx, va, npages * PAGE)
        for number, address in enumerate(entries):
            if address is not None:
                if self.driver.word(address) & PTE_DIRTY:
                    dirty = va + number * PAGE
                    self.driver.tell(TraceKind.DIRTY, ctx=self.ctx, va=dirty, npages=1)
                self.driver.set_word(address, 0)
        self.driver.tell(TraceKind.UPDATE, ctx=self.ctx, va=va, npages=npages)


class FakeDriver:
    """A device, its memory, and the driver of both."""

    def __init__(
        self,
        hbm_size: int = 8 << 20,
        programs: Mapping[str, Program] = BUILTIN,
        start: bool = True,
        trace: bool = False,
        faults: Faults = NO_FAULTS,
        identity: Identity = ALONE,
        **hardware: int,
    ) -> None:
        self.traced = bytearray()
        self.trace_seq = 0
        model = DeviceModel.PRIVATE if hbm_size else DeviceModel.MIRROR
        self.config = DeviceConfig(model=model, hbm=hbm_size, faults=faults)
        self.empty_hbm: Callable[[], None] | None = None
        self.hardware = Hardware(**hardware)
        self.traces = trace
        self.rings = self.hardware.rings(trace=trace)
        self.region = np.zeros(CONTROL_REGION, dtype=np.uint8)
        self.low = np.zeros(LOW_RAM, dtype=np.uint8)
        self.high = np.zeros(HIGH_RAM, dtype=np.uint8)
        self.hbm = np.zeros(hbm_size, dtype=np.uint8)
        self.programs = programs
        self.rung: list[Vector] = []
        self.device = self.new_device(identity)
        # Not page 0: address 0 must not be a table that one could mean.
        self.next_frame = {"low": PAGE, "high": HIGH_BASE, "hbm": HBM_BASE}
        self.mixed = 0
        self.processes: dict[int, Process] = {}
        self.cookie = 100
        self.faults_served: list[FaultRecord] = []
        self.on_fault: Callable[[FaultRecord], None] | None = None
        self.completions: dict[int, Completion] = {}
        for name, geometry in self.rings.items():
            setattr(self, name, Ring(self.region, geometry))
        self.control: Ring
        self.copy: Ring
        self.compute: Ring
        self.completion: Ring
        self.fault: Ring
        self.trace: Ring
        if start:
            self.reset()

    def new_device(self, identity: Identity) -> Device:
        """A device on this driver's memory, as after a start of the agent."""
        ram = [(0, self.low), (HIGH_BASE, self.high)]
        hbm = self.hbm if self.hbm.size else None
        return Device(
            self.config,
            self.region.data,
            ram,
            hbm,
            self.rung.append,
            self.programs,
            trace=self.traced.extend if self.traces else None,
            identity=identity,
            hardware=self.hardware,
            empty_hbm=self.empty_hbm,
        )

    # The trace

    def tell(self, kind: TraceKind, **fields: int) -> None:
        """Put a record on the trace ring, if there is one."""
        if not self.traces:
            return
        if not self.trace.room():
            self.device.step()
        self.trace_seq += 1
        self.trace.push(TraceRecord(kind=kind, seq=self.trace_seq, **fields).pack())

    def end_trace(self) -> list[TraceRecord]:
        """End the device; its trace, without the start."""
        self.device.close()
        data = bytes(self.traced)
        return [TraceRecord.unpack(data, at) for at in range(64, len(data), 64)]

    # Memory

    def memory(self, bus: int, length: int) -> np.ndarray:
        for base, data in ((0, self.low), (HIGH_BASE, self.high), (HBM_BASE, self.hbm)):
            if base <= bus and bus + length <= base + data.size:
                return data[bus - base : bus - base + length]
        raise AssertionError(f"{bus:#x}")

    def word(self, bus: int) -> int:
        return int(self.memory(bus, 8).view("<u8")[0])

    def set_word(self, bus: int, value: int) -> None:
        self.memory(bus, 8).view("<u8")[0] = value

    def frame(self, where: str = "low", zero: bool = False, count: int = 1) -> int:
        """Bus address of free page frames: low, high, hbm, or in turn all ("mixed")."""
        if where == "mixed":
            self.mixed += 1
            where = ("low", "high", "hbm")[self.mixed % (3 if self.hbm.size else 2)]
        bus = self.next_frame[where]
        self.next_frame[where] += count * PAGE
        if zero:
            self.memory(bus, count * PAGE)[:] = 0
        if where == "hbm":
            self.tell(TraceKind.FRAME_ALLOC, bus=bus, npages=count)
        return bus

    # Registers

    @property
    def regs(self) -> DeviceRegs:
        return DeviceRegs.unpack(self.region.data, DEVICE_PAGE)

    @property
    def counters(self) -> DeviceCounters:
        return DeviceCounters.unpack(self.region.data, COUNTER_PAGE)

    def set_epoch(self, epoch: int) -> None:
        self.region.view("<u8")[(DRIVER_PAGE + DriverRegs.offset("epoch")) // 8] = epoch

    def reset(self) -> None:
        """The handshake that a driver starts with."""
        epoch = DriverRegs.unpack(self.region.data, DRIVER_PAGE).epoch + 1
        self.set_epoch(epoch)
        self.device.step()
        assert self.regs.reset_ack == epoch
        for name in self.rings:
            getattr(self, name).index = 0
        self.processes.clear()
        self.completions.clear()
        self.faults_served.clear()

    # Waiting

    def step_until(self, done: Callable[[], bool]) -> None:
        for _ in range(MOST_STEPS):
            if done():
                return
            self.device.step()
            self.take_completions()
        raise AssertionError("the device does not come to an end")

    def settle(self) -> None:
        """Step until there is nothing left to do."""
        self.step_until(lambda: not self.device.step())
        self.take_completions()

    def take_completions(self) -> None:
        while (message := self.completion.take()) is not None:
            completion = Completion.unpack(message)
            assert completion.cookie not in self.completions, "completed twice"
            self.completions[completion.cookie] = completion

    def new_cookie(self) -> int:
        self.cookie += 1
        return self.cookie

    # Control

    def post_control(self, opcode: int, **fields: int) -> int:
        command = ControlCommand(opcode=opcode, status=Status.PENDING, **fields)
        return self.control.push(command.pack())

    def control_status(self, index: int) -> int:
        return ControlCommand.unpack(self.region[self.control.slot(index)].tobytes()).status

    def command(self, opcode: int, **fields: int) -> int:
        """Post a control command and wait for it; its status."""
        index = self.post_control(opcode, **fields)
        self.step_until(lambda: self.control.header("consumed") > index)
        return self.control_status(index)

    def invalidate(self, ctx: int, va: int, length: int) -> None:
        status = self.command(ControlOp.INVALIDATE, ctx=ctx, va=va, length=length)
        assert status == Status.OK

    def process(self, ctx: int = 1) -> Process:
        """A new context and its process."""
        process = Process(self, ctx, self.frame("low", zero=True))
        status = self.command(ControlOp.CONTEXT_CREATE, ctx=ctx, root=process.root)
        assert status == Status.OK
        self.tell(TraceKind.REGISTER, ctx=ctx, other=id(process))
        self.processes[ctx] = process
        return process

    # Copies

    def post_copy(self, entries: list[tuple[int, int, int]], fill: int | None = None) -> int:
        """Post a list of (src, dst, length); its cookie. `list_at` finds its entries."""
        size = len(entries) * CopyEntry.SIZE
        self.list_at = self.frame("low", count=max(-(-size // PAGE), 1))
        raw = b"".join(
            CopyEntry(src=s, dst=d, length=n, status=Status.PENDING).pack() for s, d, n in entries
        )
        self.memory(self.list_at, size)[:] = np.frombuffer(raw, np.uint8)
        cookie = self.new_cookie()
        self.copy.push(
            CopyCommand(
                opcode=CopyOp.COPY if fill is None else CopyOp.FILL,
                count=len(entries),
                cookie=cookie,
                list=self.list_at,
                pattern=fill or 0,
            ).pack()
        )
        return cookie

    def run_copy(
        self, entries: list[tuple[int, int, int]], fill: int | None = None
    ) -> tuple[Completion, list[int]]:
        """Post a list and wait; its completion and the statuses of its entries."""
        cookie = self.post_copy(entries, fill)
        where = self.list_at
        self.step_until(lambda: cookie in self.completions)
        statuses = [
            CopyEntry.unpack(self.memory(where + i * CopyEntry.SIZE, CopyEntry.SIZE).data).status
            for i in range(len(entries))
        ]
        return self.completions[cookie], statuses

    # Programs

    def launch(self, ctx: int, name: str, *args: int) -> int:
        cookie = self.new_cookie()
        self.compute.push(
            ComputeCommand(
                cookie=cookie, ctx=ctx, nargs=len(args), program=name.encode(), args=args
            ).pack()
        )
        return cookie

    def wait(self, cookie: int) -> Completion:
        """Step, serving faults, until the program has ended."""

        def done() -> bool:
            self.serve_faults()
            return cookie in self.completions

        self.step_until(done)
        return self.completions[cookie]

    def run(self, ctx: int, name: str, *args: int) -> Completion:
        return self.wait(self.launch(ctx, name, *args))

    def serve_faults(self) -> None:
        """Serve what is in the fault buffer: map, then a REPLAY for each context, or CANCEL."""
        last: dict[int, int] = {}
        while (message := self.fault.take()) is not None:
            record = FaultRecord.unpack(message)
            assert record.seq == len(self.faults_served), "fault records out of order"
            self.faults_served.append(record)
            if self.on_fault:
                self.on_fault(record)
            if self.resolve(record):
                last[record.ctx] = record.seq
            else:
                cancelled = self.command(ControlOp.CANCEL, ctx=record.ctx, seq=record.seq)
                assert cancelled == Status.OK
        for ctx, seq in last.items():
            assert self.command(ControlOp.REPLAY, ctx=ctx, seq=seq) == Status.OK

    def resolve(self, record: FaultRecord) -> bool:
        """Map the pages of a record. False if its first page cannot be."""
        process = self.processes[record.ctx]
        if record.access == Access.POISON:
            return False
        for number in range(record.npages):
            va = record.va + number * PAGE
            bus = process.pages.get(va // PAGE)
            write = va // PAGE in process.writable
            atomic = record.access == Access.ATOMIC
            if bus is None or (record.access != Access.READ and not write):
                return number > 0
            if atomic and va // PAGE in process.shared:
                return number > 0
            process.map(va, bus, write, atomic=atomic)
        return True

    def ask_for_doorbells(self, vector: Vector, wanted: bool) -> None:
        ring = self.completion if vector == Vector.COMPLETION else self.fault
        ring.set_header("event", ring.index if wanted else EVENT_NEVER)
