"""What a device is made of, fixed while it lives."""

from __future__ import annotations

from dataclasses import dataclass

from devmodel.abi.record import Record
from devmodel.abi.registers import CONTROL_REGION, HBM_ALIGN, RING_BASE, Feature, Model
from devmodel.abi.rings import (
    Completion,
    ComputeCommand,
    ControlCommand,
    CopyCommand,
    FaultRecord,
    RingHeader,
)
from devmodel.abi.trace import TraceRecord
from devmodel.device.faults import NO_FAULTS, Faults

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
class DeviceConfig:
    """The hardware's parameters. Sizes are bytes; `ValueError` says what cannot be.

    `hbm_offset` is 0 where the CPU cannot reach HBM; `node` is the NUMA node that it is to become;
    `region_size` is the size of BAR 2.
    `burst_bytes` bounds the work between two looks at the control ring, `max_programs` how many
    programs run or wait at a time. Ring sizes and `tlb_entries` are powers of two. With `trace`
    there is a ring more, and `faults` are mistakes to make.
    """

    model: Model
    region_size: int = CONTROL_REGION
    hbm_size: int = 0
    hbm_offset: int = 0
    page_shift: int = 12
    tlb_entries: int = 4096
    generation: int = 1
    peer: int = 1
    number: int = 0
    node: int = 0
    burst_bytes: int = 1 << 20
    max_programs: int = 256
    control_entries: int = 64
    copy_entries: int = 256
    compute_entries: int = 64
    completion_entries: int = 1024
    fault_entries: int = 1024
    trace: bool = False
    trace_entries: int = 4096
    faults: Faults = NO_FAULTS

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
        if self.hbm_size < 0 or self.hbm_size % self.page_size:
            raise ValueError(f"hbm_size is {self.hbm_size}: must be a multiple of the page size")
        if self.hbm_offset % HBM_ALIGN:
            raise ValueError(f"hbm_offset is {self.hbm_offset:#x}: must be a multiple of 128 MiB")
        if self.hbm_offset and self.hbm_offset + self.hbm_size > self.region_size:
            raise ValueError("the HBM window does not fit into region_size")
        if self.region_size < CONTROL_REGION:
            raise ValueError(f"region_size is {self.region_size}: must be at least 1 MiB")
        if self.burst_bytes < 1 or self.max_programs < 1:
            raise ValueError("burst_bytes and max_programs must be at least 1")
        if max(ring.end for ring in self.rings.values()) > CONTROL_REGION:
            raise ValueError("the rings do not fit into the first MiB of the region")

    @property
    def page_size(self) -> int:
        """Bytes a page."""
        return 1 << self.page_shift

    @property
    def features(self) -> Feature:
        """What this device can do beyond the least."""
        features = Feature.HUGE_LEAVES | Feature.EVENT_SUPPRESSION
        if self.hbm_size:
            features |= Feature.HBM
        if self.hbm_offset:
            features |= Feature.HBM_IN_BAR
        if self.trace:
            features |= Feature.TRACE
        return features

    @property
    def rings(self) -> dict[str, RingGeometry]:
        """The rings by name, in order of their offsets; `trace` if there is one."""
        kinds: list[tuple[str, int, type[Record]]] = [
            ("control", self.control_entries, ControlCommand),
            ("copy", self.copy_entries, CopyCommand),
            ("compute", self.compute_entries, ComputeCommand),
            ("completion", self.completion_entries, Completion),
            ("fault", self.fault_entries, FaultRecord),
        ]
        if self.trace:
            kinds.append(("trace", self.trace_entries, TraceRecord))
        rings: dict[str, RingGeometry] = {}
        offset = RING_BASE
        for name, entries, record in kinds:
            rings[name] = RingGeometry(name, offset, entries, record.SIZE)
            offset = -(-rings[name].end // RING_ALIGN) * RING_ALIGN
        return rings
