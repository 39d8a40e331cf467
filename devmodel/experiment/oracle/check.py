"""All checks over all traces of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devmodel.abi.rings import ControlOp
from devmodel.abi.trace import TraceKind
from devmodel.experiment.oracle.accesses import Accesses
from devmodel.experiment.oracle.frames import Frames
from devmodel.experiment.oracle.mappings import Mappings
from devmodel.experiment.oracle.places import Places
from devmodel.experiment.oracle.trace import DeviceTrace, load
from devmodel.experiment.oracle.violation import Violation
from devmodel.progress import Reporter

_MANY = 500_000


@dataclass(frozen=True)
class Verdict:
    """What was checked, and what is wrong, first things first."""

    traces: tuple[DeviceTrace, ...]
    accesses: int
    """page translations used"""
    invalidates: int
    """invalidates acknowledged"""
    violations: tuple[Violation, ...]

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "accesses": self.accesses,
            "invalidates": self.invalidates,
            "violations": [violation.to_json() for violation in self.violations],
        }


def check(path: Path, reporter: Reporter) -> Verdict:
    """Check the traces in a folder, or the one in a file. ConfigError if they are no good."""
    traces = load(path)
    records = sum(trace.records.size for trace in traces)
    accesses = invalidates = 0
    found: list[Violation] = []
    # A bar only for what takes seconds.
    shown = reporter if records >= _MANY else Reporter(quiet=True)
    with shown.step(f"checking {records:,} records", records) as step:
        mappings = [Mappings(trace) for trace in traces]
        frames = [Frames(trace) for trace in traces if trace.gives_frames]
        for one in mappings:
            checked = Accesses(one)
            found += checked.check(step.advance)
            accesses += checked.pages
            invalidates += int(one.trace.commands(ControlOp.INVALIDATE).size)
        for own in frames:
            found += own.check()
        found += Places(mappings, frames).check()
    found.sort(key=lambda violation: _moment(traces, violation))
    return Verdict(tuple(traces), accesses, invalidates, tuple(found))


def _moment(traces: list[DeviceTrace], violation: Violation) -> tuple[int, int, int]:
    """When it happened: after which of the driver's records, and at which of the device's."""
    trace = next(trace for trace in traces if trace.number == violation.device)
    before = trace.records[: violation.record + 1]
    driver = np.flatnonzero(before["kind"] < TraceKind.START)
    seq = int(before["seq"][driver[-1]]) if driver.size else 0
    return seq, violation.device, violation.record
