"""Everything declared in this package, in one order, and the hash of it."""

import hashlib
from collections.abc import Iterator
from enum import IntEnum, IntFlag

from devmodel.abi import counters, ioctl, pagetable, registers, rings, trace
from devmodel.abi.record import Record

DEVICE_RECORDS: tuple[type[Record], ...] = (
    registers.DeviceRegs,
    registers.DriverRegs,
    counters.DeviceCounters,
    counters.ContextCounters,
    rings.RingHeader,
    rings.ControlCommand,
    rings.CopyCommand,
    rings.CopyEntry,
    rings.ComputeCommand,
    rings.Completion,
    rings.FaultRecord,
    trace.TraceRecord,
    trace.TraceStart,
)
DEVICE_ENUMS: tuple[tuple[str, type[IntEnum] | type[IntFlag]], ...] = (
    ("VECTOR", registers.Vector),
    ("DEVICE", registers.DeviceState),
    ("FEATURE", registers.Feature),
    ("CONTROL", rings.ControlOp),
    ("COPY", rings.CopyOp),
    ("ENGINE", rings.Engine),
    ("APERTURE", pagetable.Aperture),
    ("TRACE", trace.TraceKind),
)
# Enumerations that programs see too: they go into the uapi header, which the driver includes.
SHARED_ENUMS: tuple[tuple[str, type[IntEnum] | type[IntFlag]], ...] = (
    ("MODEL", registers.Model),
    ("STATUS", rings.Status),
    ("ACCESS", rings.Access),
    ("TARGET", ioctl.Target),
    ("POLICY", ioctl.Policy),
    ("OUTCOME", ioctl.PageOutcome),
    ("PAGE", ioctl.PageState),
    ("PLACE", ioctl.Place),
)
UAPI_RECORDS: tuple[type[Record], ...] = tuple(request.record for request in ioctl.IOCTLS)


def constants(module: object) -> Iterator[tuple[str, int]]:
    """The module's own upper-case integers, in order of declaration."""
    for name, value in vars(module).items():
        if name.isupper() and type(value) is int:
            yield name, value


def describe() -> str:
    """A text that changes whenever a layout, a constant or a number does."""
    lines: list[str] = []
    for record in DEVICE_RECORDS + UAPI_RECORDS:
        lines.append(f"struct {record.C_NAME} {record.SIZE}")
        lines += [f" {f.name} {f.ctype} {f.count} {f.offset}" for f in record.FIELDS]
    for prefix, enum in DEVICE_ENUMS + SHARED_ENUMS:
        lines += [f"{prefix} {member.name} {member.value}" for member in enum]
    for module in (registers, rings, pagetable, trace, ioctl):
        lines += [f"{name} {value}" for name, value in constants(module) if name != "ABI_MINOR"]
    lines += [f"ioctl {r.name} {r.number} {r.direction} {r.record.C_NAME}" for r in ioctl.IOCTLS]
    return "\n".join(lines)


LAYOUT_HASH = int.from_bytes(hashlib.sha256(describe().encode()).digest()[:8], "little")
