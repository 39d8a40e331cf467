"""What all devices are made of alike: page size, TLB, bursts and rings."""

from __future__ import annotations

from dataclasses import dataclass

from devmodel.abi.record import Record
from devmodel.abi.registers import CONTROL_REGION, RING_BASE
from devmodel.abi.rings import (
    Completion,
    ComputeCommand,
    ControlCommand,
    CopyCommand,
    FaultRecord,
    RingHeader,
)
from devmodel.abi.trace import TraceRecord

# Each ring starts on a page of its own, so that a dump of the region is easy to read.
RING_ALIGN = 4096


@dataclass(frozen=True)
class RingGeometry:
    """Where a ring lies in the region: byte offset of its header, entries, bytes an entry."""

    name: str
    offset: int
    entries: int
    entry_size: int

    @property
    def end(self) -> int:
        """Offset of the first byte after the ring."""
        return self.offset + RingHeader.SIZE + self.entries * self.entry_size


@dataclass(frozen=True)
class Hardware:
    """The parameters that no description changes. `ValueError` says what cannot be.

    `burst_bytes` bounds the work between two looks at the control ring, `max_programs` how many
    programs run or wait at a time. Ring sizes and `tlb_entries` are powers of two.
    """

    page_shift: int = 12
    tlb_entries: int = 4096
    burst_bytes: int = 1 << 20
    max_programs: int = 256
    control_entries: int = 64
    copy_entries: int = 256
    compute_entries: int = 64
    completion_entries: int = 1024
    fault_entries: int = 1024
    trace_entries: int = 4096

    def __post_init__(self) -> None:
        for name in (
            "tlb_entries",
            "control_entries",
            "copy_entries",
            "compute_entries",
            "completion_entries",
            "fault_entries",
            "trace_entries",
        ):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} is {value}: must be a power of two")
        if not 12 <= self.page_shift <= 16:
            raise ValueError(f"page_shift is {self.page_shift}: must be 12 to 16")
        if self.burst_bytes < 1 or self.max_programs < 1:
            raise ValueError("burst_bytes and max_programs must be at least 1")
        if max(ring.end for ring in self.rings(trace=True).values()) > CONTROL_REGION:
            raise ValueError("the rings do not fit into the first MiB of the region")

    @property
    def page_size(self) -> int:
        """Bytes a page."""
        return 1 << self.page_shift

    def rings(self, *, trace: bool) -> dict[str, RingGeometry]:
        """The rings by name, in order of their offsets; one more for a device with a trace."""
        kinds: list[tuple[str, int, type[Record]]] = [
            ("control", self.control_entries, ControlCommand),
            ("copy", self.copy_entries, CopyCommand),
            ("compute", self.compute_entries, ComputeCommand),
            ("completion", self.completion_entries, Completion),
            ("fault", self.fault_entries, FaultRecord),
        ]
        if trace:
            kinds.append(("trace", self.trace_entries, TraceRecord))
        rings: dict[str, RingGeometry] = {}
        offset = RING_BASE
        for name, entries, record in kinds:
            rings[name] = RingGeometry(name, offset, entries, record.SIZE)
            offset = -(-rings[name].end // RING_ALIGN) * RING_ALIGN
        return rings


USUAL = Hardware()
