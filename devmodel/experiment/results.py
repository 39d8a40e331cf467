"""One row of a comparison: what a workload under one memory model cost, and whether it is right."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_type_hints


class BadResult(ValueError):
    """A workload printed something that is not a result."""


@dataclass(frozen=True)
class Result:
    """What a workload says of itself, and the driver's counters over its run."""

    model: str
    workload: str
    checked: bool
    """every result of the device was compared with the CPU's own, and agreed"""
    device_faults: int
    cpu_faults: int
    """touches by the CPU that brought pages back"""
    pages_to_device: int
    pages_to_system: int
    bytes_to_device: int
    """over the link: pages that migrated, and what the device loaded from system memory"""
    bytes_to_system: int
    """over the link: pages that migrated, and what the device stored to system memory"""
    remote_bytes: int
    """of both: what the device loaded and stored in place, in system memory"""
    invalidates: int
    """sent to the device, each acknowledged"""
    spilled_pages: int
    """in HBM, of processes that do not use the device"""
    wall_seconds: float
    """of the work alone: not of what the CPU does before it and checks after it"""
    pages: int
    """that the workload watches; those that lie nowhere are not touched yet"""
    system_at_start: int
    """of them, in system memory when the work began"""
    hbm_at_start: int
    system_at_end: int
    hbm_at_end: int
    hbm_bytes_in_use: int
    """the most that was seen between the steps of the workload"""
    tlb_hits: int
    tlb_misses: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the JSON object that a workload prints; what it tells beyond the fields is left.

        BadResult if it is not one, or a field is missing or of another type.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BadResult(f"not JSON: {text.strip()[:80]!r}") from error
        if not isinstance(data, dict):
            raise BadResult(f"not an object: {text.strip()[:80]!r}")
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):
            value, kind = data.get(field.name), hints[field.name]
            # JSON has one kind of number; Python's bool is an int.
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise BadResult(f"{field.name} is {value!r}, not a {kind.__name__}")
            values[field.name] = value
        return cls(**values)

    @classmethod
    def failed(cls, model: str, workload: str) -> Self:
        """The row of a workload that has no result."""
        zero: dict[str, Any] = {
            field.name: get_type_hints(cls)[field.name]() for field in fields(cls)
        }
        return cls(**{**zero, "model": model, "workload": workload})

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @property
    def tlb_hit_rate(self) -> float | None:
        """Of all page translations the part that the TLB answered; None without any."""
        total = self.tlb_hits + self.tlb_misses
        return self.tlb_hits / total if total else None
