"""What all sides did with one page and one place, as lines in order.

Devices' records are put between driver's records by the driver's sequence number that stands
before them in their own trace, so two devices are aligned as far as the driver aligns them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_VALID, PTE_WRITE
from devmodel.abi.registers import Model
from devmodel.abi.rings import ControlOp, Status
from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.trace import DeviceTrace, Indices, Mask, Words
from devmodel.experiment.oracle.violation import Violation

# Records shown before a violation, and after it.
_BEFORE, _AFTER = 16, 5
_PLACED = (TraceKind.MAP, TraceKind.ACCESS, TraceKind.FRAME_ALLOC, TraceKind.FRAME_FREE)
_OF_PAGES = (
    TraceKind.MAP,
    TraceKind.DIRTY,
    TraceKind.UPDATE,
    TraceKind.CONTROL,
    TraceKind.ACCESS,
)


def timeline(traces: Sequence[DeviceTrace], violation: Violation) -> list[str]:
    """Lines around a violation, which is marked; device, control index and sequence in front."""
    home = next(trace for trace in traces if trace.number == violation.device)
    entries: list[tuple[int, int, int, DeviceTrace]] = []
    for trace in traces:
        about = _about(trace, home, violation)
        seq = _moments(trace)[about]
        entries += [
            (int(s), trace.number, int(at), trace) for s, at in zip(seq, about, strict=True)
        ]
    entries.sort(key=lambda entry: entry[:3])
    here = next(
        n for n, e in enumerate(entries) if (e[1], e[2]) == (violation.device, violation.record)
    )
    shown = entries[max(here - _BEFORE, 0) : here + _AFTER + 1]
    lines = []
    if here > _BEFORE:
        lines.append(f"  ... {here - _BEFORE} earlier records")
    for _, number, at, trace in shown:
        mark = ">" if (number, at) == (violation.device, violation.record) else " "
        lines.append(f"{mark} {_line(trace, at, violation)}")
    return lines


def _moments(trace: DeviceTrace) -> Words:
    """By record: the last sequence number of the driver's up to it."""
    records = trace.records
    driver = records["kind"] < TraceKind.START
    moments: Words = np.maximum.accumulate(np.where(driver, records["seq"], 0))
    return moments


def _about(trace: DeviceTrace, home: DeviceTrace, violation: Violation) -> Indices:
    """The records of a trace that have to do with the violation's page or place."""
    kinds = trace.records["kind"]
    chosen: Mask = np.zeros(kinds.shape, dtype=np.bool_)
    if violation.ctx:
        chosen |= _of_page(trace, home, violation)
    if violation.bus:
        place = int(home.places(np.array([violation.bus], dtype=np.uint64))[0])
        chosen |= np.isin(kinds, _PLACED) & _covers(trace, "bus", place)
        copies = kinds == TraceKind.COPY
        chosen |= copies & _covers(trace, "bus", place)
        chosen |= copies & (trace.records["other"] != TRACE_NONE) & _covers(trace, "other", place)
    if trace is home:
        chosen |= np.isin(kinds, (TraceKind.START, TraceKind.RESET, TraceKind.MODEL))
        chosen &= trace.life == trace.life[violation.record]
        chosen[violation.record] = True
    return np.flatnonzero(chosen)


def _of_page(trace: DeviceTrace, home: DeviceTrace, violation: Violation) -> Mask:
    """Records about the page, of the same mirror; or of a mirror of the same address space."""
    records = trace.records
    space = home.space[violation.record]
    if trace is home:
        mine = trace.space == space
    else:
        registered = home.of(TraceKind.REGISTER)
        names = home.records["other"][registered[home.space[registered] == space]]
        others = trace.of(TraceKind.REGISTER)
        same = others[np.isin(records["other"][others], names)]
        mine = np.isin(trace.space, trace.space[same])
    kinds = records["kind"]
    va = np.uint64(violation.va)
    size = np.uint64(1 << trace.page_shift)
    covers = (records["va"] <= va) & ((va - records["va"]) // size < records["npages"])
    mirror = np.isin(kinds, (TraceKind.REGISTER, TraceKind.RELEASE))
    whole = (kinds == TraceKind.CONTROL) & (records["rights"] == ControlOp.CONTEXT_DESTROY)
    about: Mask = mine & (np.isin(kinds, _OF_PAGES) & covers | mirror | whole)
    return about


def _covers(trace: DeviceTrace, name: str, place: int) -> Mask:
    first = trace.places(trace.records[name])
    covers: Mask = (first <= place) & (place - first < trace.records["npages"].astype(np.int64))
    return covers


def _line(trace: DeviceTrace, at: int, violation: Violation) -> str:
    record = trace.records[at]
    kind = TraceKind(int(record["kind"]))
    is_driver = kind < TraceKind.START
    side = f"driver of {trace.number}" if is_driver else f"device {trace.number}"
    seq = str(record["seq"]) if is_driver else ""
    control = "" if record["control"] == TRACE_NONE else str(record["control"])
    what = _what(record, kind, violation.va, trace.page_shift)
    return f"{side:<11} {at:>9} {control:>8} {seq:>15}  {what}"


HEADER = f"  {'':<11} {'record':>9} {'control':>8} {'seq':>15}"


def bus(address: int) -> str:
    """A bus address for people."""
    aperture, offset = address >> 52, address & ((1 << 52) - 1)
    if aperture == 0:
        return f"system {offset:#x}"
    return f"HBM {offset:#x}" if aperture == 1 else f"HBM of device {aperture - 2} {offset:#x}"


def _rights(rights: int) -> str:
    if not rights & PTE_VALID:
        return "nothing"
    return "read" + ", write" * bool(rights & PTE_WRITE) + ", atomic" * bool(rights & PTE_ATOMIC)


def _what(record: np.void, kind: TraceKind, va: int, shift: int) -> str:
    first, npages, rights = int(record["va"]), int(record["npages"]), int(record["rights"])
    address, other = int(record["bus"]), int(record["other"])
    pages = f"{npages} page{'s' * (npages != 1)}"
    where = f"ctx {record['ctx']} {first:#x}, {pages}"
    # Of a run, the page that this is about.
    if kind in (TraceKind.MAP, TraceKind.ACCESS) and 0 <= va - first < npages << shift:
        where = f"ctx {record['ctx']} {va:#x}" + f" (one of {pages})" * (npages > 1)
        address += va - first
    match kind:
        case TraceKind.MAP:
            return f"MAP {where}: {bus(address)} ({_rights(rights)})"
        case TraceKind.UPDATE:
            how = "no invalidate needed" if record["control"] == TRACE_NONE else "invalidated"
            return f"UPDATE {where}: leaves {_rights(rights)}, {how}"
        case TraceKind.DIRTY:
            return f"DIRTY {where}"
        case TraceKind.ACCESS:
            way = "walked" if other else "TLB"
            how = "atomic" if rights & PTE_ATOMIC else "write" if rights & PTE_WRITE else "read"
            return f"ACCESS {where}: {how} {bus(address)} ({way})"
        case TraceKind.CONTROL:
            opcode = ControlOp(rights).name if rights in set(ControlOp) else str(rights)
            status = Status(other).name if other in set(Status) else str(other)
            return f"CONTROL {opcode} {where}: {status}"
        case TraceKind.COPY:
            source = "fill" if other == TRACE_NONE else f"from {bus(other)}"
            return f"COPY {pages} to {bus(address)}, {source}"
        case TraceKind.FRAME_ALLOC | TraceKind.FRAME_FREE:
            return f"{kind.name} {bus(address)}, {pages}"
        case TraceKind.MODEL:
            return f"MODEL {Model(other).name if other in set(Model) else other}"
        case TraceKind.REGISTER | TraceKind.RELEASE:
            return f"{kind.name} ctx {record['ctx']}"
        case _:
            return kind.name
