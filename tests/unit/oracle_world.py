"""Traces made up: a driver and devices that do as they should, record by record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.pagetable import PTE_VALID, PTE_WRITE
from devmodel.abi.rings import ControlOp, Status
from devmodel.abi.trace import TRACE_MAGIC, TRACE_NONE, TraceKind, TraceRecord, TraceStart
from devmodel.device.memory import HBM_BASE, PEER_BASE

PAGE = 4096
READ_ONLY = (1 << 64) - 1 & ~PTE_WRITE
FRAMES = 8


@dataclass
class Side:
    """One device's trace, after its start."""

    number: int
    records: list[TraceRecord] = field(default_factory=list)
    control: int = 0
    # (ctx, page number) → bus address, may be written, was written.
    mapped: dict[tuple[int, int], tuple[int, bool, bool]] = field(default_factory=dict)
    mirrors: dict[int, int] = field(default_factory=dict)
    """context → address space"""
    free: list[int] = field(default_factory=lambda: [HBM_BASE + n * PAGE for n in range(FRAMES)])


class World:
    """`devices` devices and one driver; each method is something that happens."""

    def __init__(self, devices: int = 1) -> None:
        self.sides = [Side(number) for number in range(devices)]
        self.seq = 1000
        self.places: dict[tuple[int, int], tuple[int | None, int]] = {}
        """page of an address space → (device or None for system memory, bus address there)"""
        self.next_system = 0x100000
        for side in self.sides:
            self._device(side, TraceKind.RESET, other=1)

    def _driver(self, side: Side, kind: TraceKind, **fields: int) -> None:
        self.seq += 1
        side.records.append(TraceRecord(kind=kind, seq=self.seq, control=side.control, **fields))

    def _device(self, side: Side, kind: TraceKind, **fields: int) -> None:
        side.records.append(TraceRecord(kind=kind, control=side.control, **fields))

    def command(
        self, side: Side, opcode: ControlOp, ctx: int, vpn: int = 0, count: int = 0
    ) -> None:
        self._device(side, TraceKind.CONTROL, ctx=ctx, va=vpn * PAGE, npages=count, rights=opcode)
        side.control += 1

    # Mirrors

    def register(self, side: Side, ctx: int, mm: int) -> None:
        self.command(side, ControlOp.CONTEXT_CREATE, ctx)
        self._driver(side, TraceKind.REGISTER, ctx=ctx, other=mm)
        side.mirrors[ctx] = mm

    def release(self, side: Side, ctx: int) -> None:
        self.command(side, ControlOp.CONTEXT_DESTROY, ctx)
        pages = sorted(vpn for c, vpn in side.mapped if c == ctx)
        if pages:
            self._settle(side, ctx, pages[0], pages[-1] - pages[0] + 1, 0, TRACE_NONE)
        self._driver(side, TraceKind.RELEASE, ctx=ctx)
        del side.mirrors[ctx]

    # Pages

    def place(self, mm: int, vpn: int) -> tuple[int | None, int]:
        """Where a page is; it is made in system memory."""
        if (mm, vpn) not in self.places:
            self.next_system += PAGE
            self.places[mm, vpn] = (None, self.next_system)
        return self.places[mm, vpn]

    def bus(self, side: Side, owner: int | None, bus: int) -> int:
        """The bus address for a device of what another one (or its owner) calls `bus`."""
        if owner is None or owner == side.number:
            return bus
        return bus - HBM_BASE + PEER_BASE + (owner << 52)

    def map(self, side: Side, ctx: int, vpn: int, write: bool) -> None:
        bus = self.bus(side, *self.place(side.mirrors[ctx], vpn))
        rights = PTE_VALID | PTE_WRITE * write
        self._driver(side, TraceKind.MAP, ctx=ctx, va=vpn * PAGE, npages=1, bus=bus, rights=rights)
        old = side.mapped.get((ctx, vpn), (0, False, False))
        side.mapped[ctx, vpn] = (bus, write or old[1], old[2])

    def access(self, side: Side, ctx: int, vpn: int, write: bool) -> None:
        bus, _, dirty = side.mapped[ctx, vpn]
        side.mapped[ctx, vpn] = (bus, side.mapped[ctx, vpn][1], dirty or write)
        rights = PTE_WRITE * write
        self._device(
            side, TraceKind.ACCESS, ctx=ctx, va=vpn * PAGE, npages=1, bus=bus, rights=rights
        )

    def update(self, side: Side, ctx: int, vpn: int, count: int, mask: int = 0) -> None:
        if any((ctx, n) in side.mapped for n in range(vpn, vpn + count)):
            self.command(side, ControlOp.INVALIDATE, ctx, vpn, count)
            self._settle(side, ctx, vpn, count, mask)

    def _settle(
        self, side: Side, ctx: int, vpn: int, count: int, mask: int, control: int | None = None
    ) -> None:
        for n in range(vpn, vpn + count):
            bus, _, dirty = side.mapped.get((ctx, n), (0, False, False))
            if dirty:
                self._driver(side, TraceKind.DIRTY, ctx=ctx, va=n * PAGE, npages=1)
            if (ctx, n) in side.mapped:
                side.mapped[ctx, n] = (bus, False, False)
                if not mask & PTE_VALID:
                    del side.mapped[ctx, n]
        self._driver(side, TraceKind.UPDATE, ctx=ctx, va=vpn * PAGE, npages=count, rights=mask)
        if control is not None:
            side.records[-1].control = control

    def migrate(self, mm: int, vpn: int, to: Side | None) -> None:
        """Move a page to a device, or to system memory."""
        owner, bus = self.place(mm, vpn)
        if owner == (None if to is None else to.number) or (to and not to.free):
            return
        for side in self.sides:
            for ctx, mine in side.mirrors.items():
                if mine == mm:
                    self.update(side, ctx, vpn, 1)
        engine = to or self.sides[owner or 0]
        if to is not None:
            target = to.free.pop()
            self._driver(to, TraceKind.FRAME_ALLOC, bus=target, npages=1)
            self.places[mm, vpn] = (to.number, target)
        else:
            self.next_system += PAGE
            target = self.next_system
            self.places[mm, vpn] = (None, target)
        source = self.bus(engine, owner, bus)
        self._device(engine, TraceKind.COPY, bus=target, other=source, npages=1)
        if owner is not None:
            self._driver(self.sides[owner], TraceKind.FRAME_FREE, bus=bus, npages=1)
            self.sides[owner].free.append(bus)

    # Chance

    def step(self, random: Random) -> None:
        """Something that may happen."""
        side = random.choice(self.sides)
        if not side.mirrors or random.random() < 0.05:
            ctx = random.randint(1, 3)
            if ctx in side.mirrors:
                self.release(side, ctx)
            else:
                # One mirror of an address space a device.
                self.register(side, ctx, random.randint(0, 1) * 10 + ctx)
            return
        ctx = random.choice(list(side.mirrors))
        vpn = random.randint(0, 5)
        match random.choice("mmaaaaauuvv"):
            case "m":
                self.map(side, ctx, vpn, random.random() < 0.6)
            case "a" if (ctx, vpn) in side.mapped:
                self.access(side, ctx, vpn, side.mapped[ctx, vpn][1] and random.random() < 0.5)
            case "u":
                self.update(side, ctx, vpn, random.randint(1, 3), random.choice((0, READ_ONLY)))
            case "v":
                self.migrate(side.mirrors[ctx], vpn, random.choice((*self.sides, None)))

    @classmethod
    def random(cls, random: Random, devices: int = 1, steps: int = 60) -> World:
        """A world after some time."""
        world = cls(devices)
        for _ in range(random.randint(1, steps)):
            world.step(random)
        return world

    def write(self, folder: Path, end: bool = True) -> Path:
        """The traces as files."""
        for side in self.sides:
            start = TraceStart(
                kind=TraceKind.START,
                number=side.number,
                magic=TRACE_MAGIC,
                layout_hash=LAYOUT_HASH,
                hbm_size=FRAMES * PAGE,
                generation=1,
                page_shift=12,
            )
            records = [*side.records, *([TraceRecord(kind=TraceKind.END)] if end else [])]
            data = start.pack() + b"".join(record.pack() for record in records)
            (folder / f"device{side.number}.trace").write_bytes(data)
        return folder


def one(*, write: bool = True) -> tuple[World, Side]:
    """A device with one mirror (context 1) whose page 2 is mapped and was read once."""
    world = World()
    side = world.sides[0]
    world.register(side, 1, 7)
    world.map(side, 1, 2, write)
    world.access(side, 1, 2, False)
    return world, side


def find(side: Side, kind: TraceKind, opcode: ControlOp | None = None) -> int:
    """The place of the last record of a kind."""
    return max(
        at
        for at, record in enumerate(side.records)
        if record.kind == kind and (opcode is None or record.rights == opcode)
    )


def altered(side: Side, at: int, **fields: int) -> None:
    """Another record in the place of one."""
    side.records[at] = replace(side.records[at], **fields)


__all__ = ["PAGE", "READ_ONLY", "Side", "Status", "World", "altered", "find", "one"]
