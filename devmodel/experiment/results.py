"""What a workload under one memory model cost, and whether it is right."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, get_type_hints

from devmodel.abi.counters import Counted

# Who runs it knows that better than what is run.
GIVEN = ("model", "workload")


class BadResult(ValueError):
    """Somebody printed something that is not a result."""


@dataclass(frozen=True)
class Result:
    """The counters over a workload's run, and what it says of itself."""

    model: str
    workload: str
    checked: bool
    """all is as it should be"""
    counted: Counted
    """docs/counters.md"""
    spilled_pages: int
    """in HBM, of processes that do not use the device"""
    wall_seconds: float
    """of what was counted: all of a program, or the part of it that it reports"""
    pages: int
    """that the workload watches; those that lie nowhere are not touched yet"""
    system_at_start: int
    """of them, in system memory when the work began"""
    hbm_at_start: int
    system_at_end: int
    hbm_at_end: int
    hbm_bytes_in_use: int
    """the most that was seen"""

    @classmethod
    def blank(cls, model: str, workload: str) -> Self:
        """Nothing is known yet, or nothing came of it: zeros, and not checked."""
        zero: dict[str, Any] = {name: kind() for name, kind in _kinds(cls).items()}
        return cls(**{**zero, "model": model, "workload": workload}, counted=Counted())

    def told(self, text: str) -> Self:
        """With what a JSON object has of the fields, and of the counters; the rest of it is left.

        BadResult if it is no object, or a field is of another type.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BadResult(f"not JSON: {text.strip()[:80]!r}") from error
        if not isinstance(data, dict):
            raise BadResult(f"not an object: {text.strip()[:80]!r}")
        kinds = {name: kind for name, kind in _kinds(type(self)).items() if name not in GIVEN}
        values: dict[str, Any] = {
            name: _value(data, name, kind) for name, kind in kinds.items() if name in data
        }
        counted = {
            field.name: _value(data, field.name, int)
            for field in Counted.FIELDS
            if field.name in data
        }
        return replace(self, **values, counted=replace(self.counted, **counted))

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
    """What there is beside the counters, and of which type it is."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.name != "counted"}


def _value(data: dict[str, Any], name: str, kind: type) -> Any:
    """BadResult if it is of another type."""
    value = data[name]
    # JSON has one kind of number; Python's bool is an int.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise BadResult(f"{name} is {value!r}, not a {kind.__name__}")
    return value
