"""One row of a comparison: what a workload under one memory model cost, and whether it is right."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_type_hints

from devmodel.abi.counters import Counted


class BadResult(ValueError):
    """A workload printed something that is not a result."""


@dataclass(frozen=True)
class Result:
    """What a workload says of itself, and the driver's counters over its run."""

    model: str
    workload: str
    checked: bool
    """every result of the device was compared with the CPU's own, and agreed"""
    counted: Counted
    """over the work: docs/counters.md"""
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
        values: dict[str, Any] = {
            name: _value(data, name, kind) for name, kind in _kinds(cls).items()
        }
        counted = {field.name: _value(data, field.name, int) for field in Counted.FIELDS}
        return cls(**values, counted=Counted(**counted))

    @classmethod
    def failed(cls, model: str, workload: str) -> Self:
        """The row of a workload that has no result."""
        zero: dict[str, Any] = {name: kind() for name, kind in _kinds(cls).items()}
        return cls(**{**zero, "model": model, "workload": workload}, counted=Counted())

    def as_dict(self) -> dict[str, Any]:
        """Flat, for JSON: the counters are fields among the others."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            flat.update(value if name == "counted" else {name: value})
        return flat

    @property
    def tlb_hit_rate(self) -> float | None:
        """Of all page translations the part that the TLB answered; None without any."""
        hits = self.counted.tlb_hits
        total = hits + self.counted.tlb_misses
        return hits / total if total else None


def _kinds(cls: type[Result]) -> dict[str, type]:
    """What a workload says beside the counters, and of which type it is."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.name != "counted"}


def _value(data: dict[str, Any], name: str, kind: type) -> Any:
    """BadResult if it is missing or of another type."""
    value = data.get(name)
    # JSON has one kind of number; Python's bool is an int.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise BadResult(f"{name} is {value!r}, not a {kind.__name__}")
    return value
