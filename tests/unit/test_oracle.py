"""The coherence oracle on traces that are made up, good and bad."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_world import PAGE, READ_ONLY, Side, World, altered, find, one

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_VALID, PTE_WRITE
from devmodel.abi.registers import Model
from devmodel.abi.rings import ControlOp, Status
from devmodel.abi.trace import TRACE_NONE, TraceKind, TraceRecord
from devmodel.device.memory import HBM_BASE
from devmodel.errors import ConfigError
from devmodel.experiment.oracle import report
from devmodel.experiment.oracle.check import Verdict, check
from devmodel.experiment.oracle.violation import Kind
from devmodel.progress import Reporter


def verdict_of(world: World, end: bool = True) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        return check(world.write(Path(folder), end), Reporter(quiet=True))


def kinds_of(world: World) -> set[Kind]:
    return {violation.kind for violation in verdict_of(world).violations}


# Good runs


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 3), st.booleans())
def test_a_good_run_has_no_violation(random: Random, devices: int, end: bool) -> None:
    assert verdict_of(World.random(random, devices), end).violations == ()


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False), st.data())
def test_nor_has_the_beginning_of_one(random: Random, data: st.DataObject) -> None:
    """A device may be killed at any time."""
    world = World.random(random)
    (side,) = world.sides
    side.records = side.records[: data.draw(st.integers(0, len(side.records)))]
    assert verdict_of(world, end=False).violations == ()


def test_what_is_counted() -> None:
    world, side = one()
    world.map(side, 1, 3, True)
    side.records[-1].npages = 4
    world.access(side, 1, 3, True)
    side.records[-1].npages = 4
    world.update(side, 1, 2, 3)
    verdict = verdict_of(world)
    assert (verdict.accesses, verdict.invalidates) == (5, 1)


# One mistake each


def late_access(world: World, side: Side) -> None:
    world.update(side, 1, 2, 1)
    side.records.append(side.records[find(side, TraceKind.ACCESS)])


def access_before_the_driver_heard(world: World, side: Side) -> None:
    """Between the acknowledgement and what the driver makes of it."""
    world.update(side, 1, 2, 1)
    access = side.records[find(side, TraceKind.ACCESS)]
    side.records.insert(find(side, TraceKind.CONTROL) + 1, access)


def stale_place(world: World, side: Side) -> None:
    access = side.records[find(side, TraceKind.ACCESS)]
    world.migrate(7, 2, side)
    world.map(side, 1, 2, True)
    side.records.append(access)


def access_after_destroy(world: World, side: Side) -> None:
    world.command(side, ControlOp.CONTEXT_DESTROY, 1)
    side.records.append(side.records[find(side, TraceKind.ACCESS)])


def access_after_reset(_: World, side: Side) -> None:
    side.records.append(TraceRecord(kind=TraceKind.RESET))
    side.records.append(side.records[find(side, TraceKind.ACCESS)])


def access_of_nothing(_: World, side: Side) -> None:
    altered(side, find(side, TraceKind.ACCESS), va=9 * PAGE)


def access_one_page_too_far(_: World, side: Side) -> None:
    altered(side, find(side, TraceKind.ACCESS), npages=2)


def access_before_the_mapping(_: World, side: Side) -> None:
    at = find(side, TraceKind.ACCESS)
    side.records[at - 1 : at + 1] = reversed(side.records[at - 1 : at + 1])


def write_to_read_only(world: World, side: Side) -> None:
    world.update(side, 1, 2, 1, READ_ONLY)
    world.access(side, 1, 2, True)


def atomic_without_the_right(_: World, side: Side) -> None:
    altered(side, find(side, TraceKind.ACCESS), rights=PTE_ATOMIC)


def no_invalidate(world: World, side: Side) -> None:
    world.update(side, 1, 2, 1)
    del side.records[find(side, TraceKind.CONTROL)]


def invalidate_of_less(world: World, side: Side) -> None:
    world.update(side, 1, 2, 2)
    altered(side, find(side, TraceKind.CONTROL), npages=1)


def invalidate_refused(world: World, side: Side) -> None:
    world.update(side, 1, 2, 1)
    altered(side, find(side, TraceKind.CONTROL), other=Status.BAD_ARGUMENT)


def dirty_not_collected(world: World, side: Side) -> None:
    world.access(side, 1, 2, True)
    world.update(side, 1, 2, 1)
    del side.records[find(side, TraceKind.DIRTY)]


def dirty_not_collected_when_protected(world: World, side: Side) -> None:
    """What is collected later is too late: the page may be written back in between."""
    world.access(side, 1, 2, True)
    world.update(side, 1, 2, 1, READ_ONLY)
    dirty = side.records.pop(find(side, TraceKind.DIRTY))
    world.update(side, 1, 2, 1)
    dirty.seq = side.records[-1].seq
    side.records[-1].seq += 1
    side.records.insert(len(side.records) - 1, dirty)


def dirty_not_collected_at_the_end(world: World, side: Side) -> None:
    world.access(side, 1, 2, True)
    world.release(side, 1)
    del side.records[find(side, TraceKind.DIRTY)]


def another_frame(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.map(side, 1, 2, True)
    world.access(side, 1, 2, False)
    altered(side, find(side, TraceKind.ACCESS), bus=HBM_BASE)


def given_twice(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.migrate(7, 3, side)
    altered(side, find(side, TraceKind.FRAME_ALLOC), bus=world.place(7, 2)[1])


def freed_twice(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.migrate(7, 2, None)
    free = side.records[find(side, TraceKind.FRAME_FREE)]
    world.seq += 1
    side.records.append(TraceRecord(kind=free.kind, seq=world.seq, bus=free.bus, npages=1))


def freed_while_mapped(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.map(side, 1, 2, True)
    world.seq += 1
    bus = world.place(7, 2)[1]
    side.records.append(TraceRecord(kind=TraceKind.FRAME_FREE, seq=world.seq, bus=bus, npages=1))


def never_given(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    del side.records[find(side, TraceKind.FRAME_ALLOC)]


def two_writers_in_a_frame(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.map(side, 1, 2, True)
    world.places[7, 3] = world.places[7, 2]
    world.map(side, 1, 3, False)


def one_page_twice(world: World, _: Side) -> None:
    """Mapped elsewhere, and never taken from where it was."""
    world.places[7, 2] = (None, 0x777000)
    other = World()
    world.sides.append(Side(1, other.sides[0].records))
    world.register(world.sides[1], 2, 7)
    world.map(world.sides[1], 2, 2, False)


def copied_while_mapped(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.map(side, 1, 2, False)
    world.access(side, 1, 2, False)
    bus = world.place(7, 2)[1]
    world._device(side, TraceKind.COPY, bus=0x999000, other=bus, npages=1)


def copied_over_while_mapped(world: World, side: Side) -> None:
    world._device(side, TraceKind.COPY, bus=world.place(7, 2)[1], other=TRACE_NONE, npages=1)


def copied_before_the_update(world: World, side: Side) -> None:
    """The engine of another device was quicker than this one's invalidate."""
    other = Side(1, World().sides[0].records)
    world.sides.append(other)
    world.register(other, 2, 8)
    world.command(other, ControlOp.NOP, 0)
    world.migrate(7, 2, other)
    update = side.records.pop()
    assert update.kind == TraceKind.UPDATE
    world.register(other, 3, 9)
    update.seq = world.seq = world.seq + 1
    side.records.append(update)


def copied_into_one_frame(world: World, side: Side) -> None:
    world.migrate(7, 2, side)
    world.migrate(7, 3, side)
    altered(side, find(side, TraceKind.COPY), bus=world.place(7, 2)[1])


MISTAKES: list[tuple[Callable[[World, Side], None], Kind]] = [
    (late_access, Kind.REVOKED),
    (access_before_the_driver_heard, Kind.REVOKED),
    (stale_place, Kind.REVOKED),
    (access_after_destroy, Kind.REVOKED),
    (access_after_reset, Kind.UNMAPPED),
    (access_of_nothing, Kind.UNMAPPED),
    (access_one_page_too_far, Kind.UNMAPPED),
    (access_before_the_mapping, Kind.UNMAPPED),
    (write_to_read_only, Kind.WRITE),
    (atomic_without_the_right, Kind.ATOMIC),
    (no_invalidate, Kind.UNACKNOWLEDGED),
    (invalidate_of_less, Kind.UNACKNOWLEDGED),
    (invalidate_refused, Kind.UNACKNOWLEDGED),
    (dirty_not_collected, Kind.LOST_DIRTY),
    (dirty_not_collected_when_protected, Kind.LOST_DIRTY),
    (dirty_not_collected_at_the_end, Kind.LOST_DIRTY),
    (another_frame, Kind.WRONG_FRAME),
    (given_twice, Kind.TWICE),
    (freed_twice, Kind.NOT_GIVEN),
    (freed_while_mapped, Kind.FREE_FRAME),
    (never_given, Kind.FREE_FRAME),
    (two_writers_in_a_frame, Kind.SHARED_FRAME),
    (one_page_twice, Kind.TWO_PLACES),
    (copied_while_mapped, Kind.COPIED_MAPPED),
    (copied_over_while_mapped, Kind.COPIED_MAPPED),
    (copied_before_the_update, Kind.COPIED_MAPPED),
    (copied_into_one_frame, Kind.COPIED_TWICE),
]


@pytest.mark.parametrize(("mistake", "kind"), MISTAKES, ids=lambda x: getattr(x, "__name__", ""))
def test_each_mistake_is_caught(mistake: Callable[[World, Side], None], kind: Kind) -> None:
    world, side = one()
    assert kinds_of(world) == set()
    mistake(world, side)
    assert kind in kinds_of(world)


def test_every_kind_is_tried() -> None:
    assert {kind for _, kind in MISTAKES} == set(Kind)


# What is right though it looks odd


def test_frames_that_fork_shares_are_right_while_nobody_writes() -> None:
    world = World()
    (side,) = world.sides
    world.register(side, 1, 7)
    world.register(side, 2, 8)
    world.migrate(7, 2, side)
    world.map(side, 1, 2, True)
    world.access(side, 1, 2, True)
    world.update(side, 1, 2, 1, READ_ONLY)
    world.places[8, 2] = world.places[7, 2]
    world.map(side, 2, 2, False)
    assert kinds_of(world) == set()
    world.map(side, 1, 2, True)
    assert kinds_of(world) == {Kind.SHARED_FRAME}


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (Model.PRIVATE, {Kind.FREE_FRAME, Kind.SHARED_FRAME}),
        (Model.NUMA, set()),
        (Model.CDM, set()),
    ],
)
def test_frames_of_a_node_are_the_kernels(model: Model, kinds: set[Kind]) -> None:
    """Nobody said that it gave them out, and they may be of shared memory."""
    world = World()
    (side,) = world.sides
    world.seq += 1
    side.records.append(TraceRecord(kind=TraceKind.MODEL, seq=world.seq, other=model))
    for ctx, mm in ((1, 7), (2, 8)):
        world.register(side, ctx, mm)
        world.places[mm, 2] = (0, HBM_BASE)
        world.map(side, ctx, 2, True)
        world.access(side, ctx, 2, True)
    assert kinds_of(world) == kinds


def test_a_context_number_is_another_process_each_time() -> None:
    world, side = one()
    world.release(side, 1)
    world.register(side, 1, 8)
    world.map(side, 1, 2, False)
    world.access(side, 1, 2, False)
    world.register(side, 2, 7)
    world.places[7, 2] = (None, 0x777000)
    world.map(side, 2, 2, False)
    assert kinds_of(world) == set()


def test_a_device_that_died_holds_nobody_up() -> None:
    """It says nothing of its last mapping's end; the page then lives elsewhere."""
    world, _ = one()
    world.sides.append(Side(1, World().sides[0].records))
    world.places[7, 2] = (None, 0x777000)
    world.register(world.sides[1], 2, 7)
    world.map(world.sides[1], 2, 2, False)
    assert {v.kind for v in verdict_of(world).violations} == {Kind.TWO_PLACES}
    assert verdict_of(world, end=False).violations == ()


# Against a checker that is slow and plain


def plain(records: list[TraceRecord]) -> set[tuple[Kind, int]]:
    """Invariants 1 and 2 of one device, page by page, event by event."""
    effects: dict[int, list[int]] = {}
    invalidates: dict[int, int] = {}
    dirty: set[tuple[int, int]] = set()
    pending: list[tuple[int, int]] = []
    bad: set[tuple[Kind, int]] = set()
    pages_of = {at: range(r.va // PAGE, r.va // PAGE + r.npages) for at, r in enumerate(records)}
    for at, r in enumerate(records):
        if r.kind == TraceKind.CONTROL and r.rights == ControlOp.CONTEXT_CREATE:
            # Another address space: nothing that was said before is said of it.
            invalidates.pop(r.ctx, None)
            pending = [(ctx, page) for ctx, page in pending if ctx != r.ctx]
        if r.kind == TraceKind.CONTROL and r.rights == ControlOp.INVALIDATE:
            invalidates[r.ctx] = at
        if r.kind == TraceKind.DIRTY:
            pending += [(r.ctx, page) for page in pages_of[at]]
        if r.kind == TraceKind.UPDATE:
            effect = at
            if r.control != TRACE_NONE:
                told = invalidates.get(r.ctx)
                if told is None or not set(pages_of[at]) <= set(pages_of[told]):
                    bad.add((Kind.UNACKNOWLEDGED, at))
                else:
                    effect = told
            effects.setdefault(effect, []).append(at)
            dirty |= {(at, page) for ctx, page in pending if ctx == r.ctx}
            pending = [(ctx, page) for ctx, page in pending if ctx != r.ctx]
    held: dict[tuple[int, int], tuple[int, bool]] = {}
    ever: dict[tuple[int, int], set[int]] = {}
    written: dict[tuple[int, int], int] = {}
    for at, r in enumerate(records):
        keys = [(r.ctx, page) for page in pages_of[at]]
        match r.kind:
            case TraceKind.MAP:
                for n, key in enumerate(keys):
                    write = bool(r.rights & PTE_WRITE) or held.get(key, (0, False))[1]
                    held[key] = (r.bus + n * PAGE, write)
                    ever.setdefault(key, set()).add(r.bus + n * PAGE)
            case TraceKind.CONTROL if r.rights == ControlOp.CONTEXT_CREATE:
                # Another address space from here on.
                for things in (held, ever, written):
                    for key in [key for key in things if key[0] == r.ctx]:
                        del things[key]  # type: ignore[attr-defined]
            case TraceKind.CONTROL if r.rights == ControlOp.CONTEXT_DESTROY:
                for key in [key for key in held if key[0] == r.ctx]:
                    del held[key]
            case TraceKind.ACCESS:
                for n, key in enumerate(keys):
                    bus, write = r.bus + n * PAGE, bool(r.rights & PTE_WRITE)
                    if key in held and held[key][0] == bus:
                        if write and not held[key][1]:
                            bad.add((Kind.WRITE, at))
                        elif write:
                            written.setdefault(key, at)
                    elif bus in ever.get(key, ()):
                        bad.add((Kind.REVOKED, at))
                    elif key in held:
                        bad.add((Kind.WRONG_FRAME, at))
                    else:
                        bad.add((Kind.REVOKED if key in ever else Kind.UNMAPPED, at))
        for update in effects.get(at, ()):
            u = records[update]
            for page in pages_of[update]:
                key = (u.ctx, page)
                if key not in ever:
                    continue
                if key in written:
                    first = written.pop(key)
                    if (update, page) not in dirty:
                        bad.add((Kind.LOST_DIRTY, first))
                if key in held and not u.rights & PTE_WRITE:
                    held[key] = (held[key][0], False)
                if not u.rights & PTE_VALID:
                    held.pop(key, None)
    return bad


@settings(deadline=None, max_examples=120)
@given(st.randoms(use_true_random=False), st.data())
def test_agrees_with_a_plain_checker(random: Random, data: st.DataObject) -> None:
    """On runs with records lost, doubled, moved and changed."""
    world = World.random(random, steps=100)
    (side,) = world.sides
    for _ in range(data.draw(st.integers(1, 4))):
        if len(side.records) < 3:
            break
        at = data.draw(st.integers(1, len(side.records) - 1))
        to = data.draw(st.integers(1, len(side.records) - 1))
        match data.draw(st.sampled_from(("lose", "double", "move", "write", "bus", "longer"))):
            case "lose":
                del side.records[at]
            case "double":
                side.records.insert(to, side.records[at])
            case "move":
                side.records.insert(to, side.records.pop(at))
            case "write" if side.records[at].kind == TraceKind.ACCESS:
                altered(side, at, rights=side.records[at].rights ^ PTE_WRITE)
            case "bus" if side.records[at].kind == TraceKind.ACCESS:
                altered(side, at, bus=side.records[to].bus)
            case "longer" if side.records[at].npages:
                altered(side, at, npages=side.records[at].npages + 1)
    # The file is refused if the driver's records are not in order.
    seq = 0
    for at, record in enumerate(side.records):
        if record.kind < TraceKind.START:
            seq += 1
            altered(side, at, seq=seq)
    found = {
        (v.kind, v.record - 1)
        for v in verdict_of(world).violations
        if v.kind.invariant < 3 or v.kind is Kind.WRONG_FRAME
    }
    assert found == plain(side.records)


REFUSED = (TraceKind.START, TraceKind.HOLE)
COUNTED = (
    TraceKind.MAP,
    TraceKind.ACCESS,
    TraceKind.FRAME_ALLOC,
    TraceKind.FRAME_FREE,
    TraceKind.COPY,
)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False))
def test_nonsense_is_judged_or_refused(random: Random) -> None:
    """Whatever a driver puts on the ring: no other error comes of it."""
    world = World()
    for _ in range(random.randint(1, 30)):
        numbers = [
            random.choice((0, 1, 2, PAGE, HBM_BASE, 1 << 48, random.getrandbits(64)))
            for _ in range(6)
        ]
        npages = random.choice((0, 1, 2, 1 << 36, random.getrandbits(64)))
        kind = random.choice([kind for kind in TraceKind if kind not in REFUSED])
        if kind in COUNTED:
            npages = random.choice((1, 2, 512))
        va, bus, rights, control, other, seq = numbers
        world.seq += 1
        fields = {"va": va, "bus": bus, "rights": rights, "control": control, "other": other}
        seq = seq if random.random() < 0.01 else world.seq
        ctx = random.choice((0, 1, 2, (1 << 32) - 1))
        world.sides[0].records.append(
            TraceRecord(kind=kind, ctx=ctx, npages=npages, seq=seq, **fields)
        )
    with contextlib.suppress(ConfigError):
        verdict = verdict_of(world)
        report.text(verdict)
