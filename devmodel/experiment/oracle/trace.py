"""Reads traces (devmodel.abi.trace) as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.pagetable import PTE_APERTURE_SHIFT, Aperture
from devmodel.abi.registers import Model
from devmodel.abi.rings import ControlOp, Status
from devmodel.abi.trace import TRACE_MAGIC, TRACE_NONE, TraceKind, TraceRecord, TraceStart
from devmodel.errors import ConfigError

RECORD = np.dtype(
    [(f.name, "<u4" if f.ctype == "__u32" else "<u8") for f in TraceRecord.FIELDS], align=True
)

Records = NDArray[np.void]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

# A page of any context: the context's number in its trace, then the page's.
VPN_BITS = 36
# Large enough for any sequence number, small enough to be added to.
NEVER = np.int64(1 << 62)

# No single record is of more; expanding what was never written would take for ever.
_MOST_PAGES = {
    TraceKind.MAP: 1 << 16,
    TraceKind.ACCESS: 1 << 16,
    TraceKind.FRAME_ALLOC: 1 << 16,
    TraceKind.FRAME_FREE: 1 << 16,
    TraceKind.COPY: 1 << 21,
}
_HINT = "a trace comes from devmodel run --trace DIR"
_KINDS = np.array(sorted(TraceKind), dtype=np.uint32)


@dataclass(frozen=True)
class DeviceTrace:
    """One device's trace. All arrays are by record, in the order of the file.

    A *space* is a context from its creation to that of another one of the same number, or to
    the next reset: `space` holds its number within this trace. `life` counts resets.
    """

    path: Path
    number: int
    page_shift: int
    hbm_size: int
    records: Records
    complete: bool
    """the device ended as it should, so what is not in the trace did not happen"""
    life: Numbers
    space: Numbers

    def of(self, *kinds: TraceKind) -> Indices:
        """Which records are of these kinds, ascending."""
        return np.flatnonzero(np.isin(self.records["kind"], kinds))

    def commands(self, opcode: ControlOp) -> Indices:
        """Which records are control commands of this kind that were done."""
        found = self.of(TraceKind.CONTROL)
        records = self.records[found]
        done: Mask = (records["rights"] == opcode) & (records["other"] == Status.OK)
        return found[done]

    @property
    def gives_frames(self) -> bool:
        """Whether the driver gives out the frames of this HBM. Those of a node are the kernel's."""
        models = self.records["other"][self.of(TraceKind.MODEL)]
        return not np.isin(models, (Model.NUMA, Model.CDM)).any()

    def seq(self, positions: Indices) -> Numbers:
        """The sequence numbers of driver's records."""
        return self.records["seq"][positions].astype(np.int64)

    def key(self, positions: Indices, name: str = "va") -> Numbers:
        """For records with a context: their first page as (space, page number) in one number."""
        pages = (self.records[name][positions] >> np.uint64(self.page_shift)).astype(np.int64)
        key: Numbers = self.space[positions] << VPN_BITS | np.minimum(pages, (1 << VPN_BITS) - 1)
        return key

    def npages(self, positions: Indices) -> Numbers:
        """How many pages each record is about."""
        npages: Numbers = np.minimum(self.records["npages"][positions], 1 << VPN_BITS).astype(
            np.int64
        )
        return npages

    def places(self, bus: Words) -> Numbers:
        """Bus addresses of this device as page numbers that mean the same for every device."""
        own = np.uint64(Aperture.HBM)
        peer = np.uint64((Aperture.PEER0 + self.number) << PTE_APERTURE_SHIFT)
        offset = bus & np.uint64((1 << PTE_APERTURE_SHIFT) - 1)
        local = bus >> np.uint64(PTE_APERTURE_SHIFT) == own
        return (np.where(local, peer | offset, bus) >> np.uint64(self.page_shift)).astype(np.int64)

    def bus(self, place: int) -> int:
        """The reverse of `places`, for one place."""
        bus = place << self.page_shift
        own = (Aperture.PEER0 + self.number) << PTE_APERTURE_SHIFT
        if bus >> PTE_APERTURE_SHIFT == own >> PTE_APERTURE_SHIFT:
            bus += (Aperture.HBM << PTE_APERTURE_SHIFT) - own
        return bus

    def ends(self) -> Numbers:
        """By record: when what it began ended at the latest, by the driver's sequence.

        At the end of its life; that of a device which ended as it should lasts for ever.
        """
        driver = np.flatnonzero(self.records["kind"] < TraceKind.START)
        last = np.zeros(int(self.life[-1]) + 1, dtype=np.int64)
        np.maximum.at(last, self.life[driver], self.seq(driver) + 1)
        if self.complete:
            last[-1] = NEVER
        return last[self.life]

    def around(self, positions: Indices) -> tuple[Numbers, Numbers]:
        """For records of the device's: a driver's record that surely was before, and one after.

        By sequence number. What was taken from the ring just before a record may have been
        written while the device did what the record says.
        """
        is_driver = self.records["kind"] < TraceKind.START
        driver, device = np.flatnonzero(is_driver), np.flatnonzero(~is_driver)
        seq = np.concatenate(([0], self.seq(driver), [NEVER]))
        previous = device[np.searchsorted(device, positions) - 1]
        before: Numbers = seq[np.searchsorted(driver, previous)]
        after: Numbers = seq[np.searchsorted(driver, positions) + 1]
        return before, after

    def owner(self, places: Numbers) -> Numbers:
        """The device whose HBM each place is in; negative for system memory."""
        owner: Numbers = (places >> (PTE_APERTURE_SHIFT - self.page_shift)) - Aperture.PEER0
        return owner


def load(path: Path) -> list[DeviceTrace]:
    """The traces in a folder, or the one in a file. ConfigError says what is wrong with them."""
    files = sorted(path.glob("device*.trace")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"{path}: no device*.trace in this folder", hint=_HINT)
    traces = [_load(file) for file in files]
    numbers = [trace.number for trace in traces]
    for trace in traces:
        if numbers.count(trace.number) > 1:
            raise ConfigError(
                f"{path}: two traces of device {trace.number}", hint="give the folder of one run"
            )
    return traces


def _load(path: Path) -> DeviceTrace:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint=_HINT) from error
    # What a killed device did not write whole was not said.
    records = np.frombuffer(data, dtype=RECORD, count=len(data) // RECORD.itemsize)
    if not records.size:
        raise ConfigError(f"{path}: not a trace, but {len(data)} bytes", hint=_HINT)
    start = TraceStart.unpack(data)
    if start.kind != TraceKind.START or start.magic != TRACE_MAGIC:
        raise ConfigError(f"{path}: not a trace", hint=_HINT)
    if start.layout_hash != LAYOUT_HASH:
        raise ConfigError(
            f"{path}: written by another version of devmodel",
            hint="check it with the version that wrote it",
        )
    _refuse_nonsense(path, records, start)
    begins = np.isin(records["kind"], (TraceKind.START, TraceKind.RESET))
    life = np.cumsum(begins).astype(np.int64)
    return DeviceTrace(
        path,
        start.number,
        start.page_shift,
        start.hbm_size,
        records,
        bool(records["kind"][-1] == TraceKind.END),
        life,
        _spaces(records, life),
    )


def _spaces(records: Records, life: Numbers) -> Numbers:
    """By record: the number of its space."""
    context = life << 32 | records["ctx"].astype(np.int64)
    order = np.argsort(context, kind="stable")
    created = (records["kind"] == TraceKind.CONTROL) & (records["other"] == Status.OK)
    begins = (created & (records["rights"] == ControlOp.CONTEXT_CREATE))[order]
    begins[1:] |= context[order[1:]] != context[order[:-1]]
    space = np.empty(records.size, dtype=np.int64)
    space[order] = np.cumsum(begins)
    return space


def _refuse_nonsense(path: Path, records: Records, start: TraceStart) -> None:
    unknown = np.flatnonzero(~np.isin(records["kind"], _KINDS))
    if unknown.size:
        at = int(unknown[0])
        raise ConfigError(
            f"{path}: damaged: record {at} is of kind {records['kind'][at]}", hint=_HINT
        )
    holes = np.flatnonzero(records["kind"] == TraceKind.HOLE)
    if holes.size:
        raise ConfigError(
            f"{path}: records of the driver's are missing before record {holes[0]}",
            hint="nothing can be proved for this run; see the agent's log and dmesg",
        )
    if not 12 <= start.page_shift <= 16:
        raise ConfigError(f"{path}: damaged: page shift {start.page_shift}", hint=_HINT)
    for kind, most in _MOST_PAGES.items():
        npages = records["npages"][records["kind"] == kind]
        if (npages > most).any() or not npages.all():
            raise ConfigError(
                f"{path}: damaged: {kind.name} of {npages.max()} or of no pages", hint=_HINT
            )
    driver = records["kind"] < TraceKind.START
    seq = records["seq"][driver].astype(np.int64)
    if seq.size and ((np.diff(seq) <= 0).any() or seq[0] < 0 or seq[-1] >= NEVER):
        raise ConfigError(f"{path}: damaged: the driver's sequence goes back", hint=_HINT)


__all__ = [
    "NEVER",
    "RECORD",
    "TRACE_NONE",
    "VPN_BITS",
    "DeviceTrace",
    "Indices",
    "Mask",
    "Numbers",
    "Records",
    "Words",
    "load",
]
