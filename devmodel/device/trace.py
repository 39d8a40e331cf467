"""The device's trace: what the driver said and what the device did, in one order.

Every record is written after the trace ring was emptied into the same buffer, so a driver's
record stands before whatever the device did after it was written (devmodel.abi.trace). Nothing
here is called while there is no trace.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.pagetable import PTE_ATOMIC, PTE_WRITE
from devmodel.abi.rings import ControlCommand, Status
from devmodel.abi.trace import TRACE_MAGIC, TRACE_NONE, TraceKind, TraceRecord, TraceStart
from devmodel.device.config import DeviceConfig, Identity
from devmodel.device.hardware import Hardware
from devmodel.device.memory import Addresses, Mask
from devmodel.device.ring import Consumer

log = logging.getLogger(__name__)

RECORD = np.dtype(
    [(f.name, "<u4" if f.ctype == "__u32" else "<u8") for f in TraceRecord.FIELDS], align=True
)
assert RECORD.itemsize == TraceRecord.SIZE

# Records kept before they are written: 1 MiB.
_BUFFERED = 16384
# Full rings of the driver's that one step takes. A driver waits when its ring is full, and does not
# fill it so often while the device does a burst; whoever does wants to keep the device busy.
_RINGS_A_STEP = 16
_STRUCT = struct.Struct("<IIQQQQQQQ")
assert _STRUCT.size == TraceRecord.SIZE

Sink = Callable[[memoryview], object]
"""Gets whole records; OSError ends the trace, not the device."""


class Trace:
    """Writes the trace of a device to `sink`. `ring` is the driver's trace ring."""

    def __init__(
        self,
        config: DeviceConfig,
        identity: Identity,
        hardware: Hardware,
        sink: Sink,
        ring: Consumer,
    ) -> None:
        self._sink: Sink | None = sink
        self._ring = ring
        self._shift = hardware.page_shift
        self._records = np.zeros(_BUFFERED, dtype=RECORD)
        self._bytes = self._records.view(np.uint8).data
        self._used = 0
        # What is on the ring before the first reset is a driver's of an earlier life.
        self._live = False
        # How many of the driver's records this step still takes; None: some had to stay behind.
        self._allowance: int | None = _RINGS_A_STEP * ring.entries
        self.control = 0
        """control commands acknowledged"""
        start = TraceStart(
            kind=TraceKind.START,
            number=identity.number,
            magic=TRACE_MAGIC,
            layout_hash=LAYOUT_HASH,
            hbm_size=config.hbm_size,
            generation=identity.generation,
            page_shift=hardware.page_shift,
            model=config.model.number,
        )
        self._bytes[: TraceStart.SIZE] = start.pack()
        self._used = 1
        self.flush()

    # The file

    def flush(self) -> None:
        """Hand over what has been collected."""
        if not self._used:
            return
        data, self._used = self._bytes[: self._used * RECORD.itemsize], 0
        if self._sink is None:
            return
        try:
            self._sink(data)
        except OSError as error:
            log.error("the trace ends here: %s", error)
            self._sink = None

    def close(self) -> None:
        """The device ends as it should."""
        self._put(TraceKind.END)
        self.flush()

    def _room(self, count: int) -> int:
        """The place of the next `count` records, which must fit into the buffer."""
        if self._used + count > _BUFFERED:
            self.flush()
        at = self._used
        self._used += count
        return at

    def _put(
        self,
        kind: TraceKind,
        ctx: int = 0,
        va: int = 0,
        bus: int = 0,
        npages: int = 0,
        rights: int = 0,
        other: int = 0,
    ) -> None:
        self.drain()
        at = self._room(1) * RECORD.itemsize
        now = time.monotonic_ns()
        _STRUCT.pack_into(
            self._bytes, at, kind, ctx, now, va, bus, npages, rights, self.control, other
        )

    # The driver's side

    def new_step(self) -> None:
        """The device begins a step."""
        self._allowance = _RINGS_A_STEP * self._ring.entries
        self.drain()

    def drain(self) -> None:
        """Take what the driver has said by now. What it says meanwhile is for the next time."""
        ring = self._ring
        if not self._live or self._allowance is None or not ring.produced():
            return
        waiting = ring.available()
        if waiting > self._allowance:
            # They will be taken, but not in their place.
            self._allowance = None
            self.hole()
            return
        self._allowance -= waiting
        while waiting:
            data = ring.take(min(waiting, _BUFFERED))
            count = len(data) // RECORD.itemsize
            at = self._room(count)
            self._records[at : at + count] = np.frombuffer(data, dtype=RECORD)
            waiting -= count

    def hole(self) -> None:
        """Records of the driver's are not where they belong."""
        at = self._room(1) * RECORD.itemsize
        now = time.monotonic_ns()
        _STRUCT.pack_into(self._bytes, at, TraceKind.HOLE, 0, now, *[0] * 6)

    # The device's side

    def reset(self, epoch: int) -> None:
        """The device forgets everything, the trace ring among it."""
        self.drain()
        self._ring.clear()
        self._live = True
        self.control = 0
        self._put(TraceKind.RESET, other=epoch)

    def command(self, command: ControlCommand, status: Status) -> None:
        """A control command was done, and will be acknowledged next."""
        self._put(
            TraceKind.CONTROL,
            command.ctx,
            command.va,
            0,
            command.length >> self._shift,
            command.opcode,
            status,
        )
        self.control += 1

    def access(self, ctx: int, vpn: int, bus: int, write: bool, atomic: bool, walked: bool) -> None:
        """One page was translated to `bus`, to be used at once."""
        rights = PTE_WRITE * write | PTE_ATOMIC * atomic
        self._put(TraceKind.ACCESS, ctx, vpn << self._shift, bus, 1, rights, walked)

    def accesses(
        self, ctx: int, vpns: Addresses, bus: Addresses, write: bool, walked: Mask
    ) -> None:
        """As `access`, for many pages: a record for each run of neighbours in both spaces."""
        if not vpns.size:
            return
        self.drain()
        now = time.monotonic_ns()
        rights = PTE_WRITE if write else 0
        starts, lengths = _runs(self._shift, bus, vpns << np.uint64(self._shift))
        walks = np.add.reduceat(walked.astype(np.uint64), starts)
        for first in range(0, starts.size, _BUFFERED):
            part = slice(first, first + _BUFFERED)
            at = self._room(starts[part].size)
            rows = self._records[at : self._used]
            rows["kind"], rows["ctx"], rows["seq"] = TraceKind.ACCESS, ctx, now
            rows["va"] = vpns[starts[part]] << np.uint64(self._shift)
            rows["bus"] = bus[starts[part]]
            rows["npages"], rows["rights"] = lengths[part], rights
            rows["control"], rows["other"] = self.control, walks[part]

    def copied(self, src: Addresses | None, dst: Addresses) -> None:
        """The copy engine moved whole pages, or filled them (`src` None)."""
        self.drain()
        now = time.monotonic_ns()
        starts, lengths = _runs(self._shift, dst, dst if src is None else src)
        for first in range(0, starts.size, _BUFFERED):
            part = slice(first, first + _BUFFERED)
            at = self._room(starts[part].size)
            rows = self._records[at : self._used]
            rows[:] = 0
            rows["kind"], rows["control"] = TraceKind.COPY, self.control
            rows["seq"] = now
            rows["bus"] = dst[starts[part]]
            rows["other"] = TRACE_NONE if src is None else src[starts[part]]
            rows["npages"] = lengths[part]

    def copied_bytes(self, src: int | None, dst: int, length: int) -> None:
        """The copy engine moved some bytes."""
        low = (1 << self._shift) - 1
        npages = ((dst & low) + length + low) >> self._shift
        self._put(
            TraceKind.COPY,
            bus=dst & ~low,
            npages=npages,
            other=TRACE_NONE if src is None else src & ~low,
        )


def _runs(
    shift: int, one: Addresses, other: Addresses
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where runs of pages begin that are neighbours in both arrays, and how many pages each has."""
    page = np.uint64(1 << shift)
    breaks = (one[1:] - one[:-1] != page) | (other[1:] - other[:-1] != page)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1)).astype(np.intp)
    return starts, np.diff(np.append(starts, one.size))
