"""The verdict for people: counts, and the first violation with both sides' history around it."""

from __future__ import annotations

from collections import Counter

from devmodel.abi.trace import TraceKind
from devmodel.experiment.oracle.check import Verdict
from devmodel.experiment.oracle.timeline import HEADER, bus, timeline
from devmodel.experiment.oracle.violation import MOST, Violation


def text(verdict: Verdict) -> str:
    """Several lines."""
    lines = _counts(verdict)
    if not verdict.violations:
        return "\n".join([*lines, "", "no violation"])
    kinds = Counter((v.kind.invariant, v.kind.value) for v in verdict.violations)
    lines += ["", f"violations (of one kind and device the first {MOST} or so):"]
    lines += [f"  invariant {number}: {what}: {n}" for (number, what), n in sorted(kinds.items())]
    return "\n".join([*lines, "", *_first(verdict)])


def _counts(verdict: Verdict) -> list[str]:
    rows = [["", *(f"device {trace.number}" for trace in verdict.traces)]]
    for kind in TraceKind:
        counts = [int(trace.of(kind).size) for trace in verdict.traces]
        if any(counts) and kind is not TraceKind.START:
            rows.append([kind.name, *(f"{count:,}" for count in counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    lines += [
        "",
        f"{verdict.accesses:,} pages accessed, {verdict.invalidates:,} invalidates acknowledged",
    ]
    lines += [
        f"device {trace.number} did not end as it should: checked as far as its trace goes"
        for trace in verdict.traces
        if not trace.complete
    ]
    return lines


def _first(verdict: Verdict) -> list[str]:
    violation = verdict.violations[0]
    path = next(t.path for t in verdict.traces if t.number == violation.device)
    return [
        f"The first: {violation.kind}",
        f"  {_place(violation)}",
        f"  record {violation.record} of {path}",
        "",
        "What was done with that page and that place, in order; control: commands acknowledged,",
        "seq: the driver's order over all devices:",
        "",
        HEADER,
        *timeline(verdict.traces, violation),
    ]


def _place(violation: Violation) -> str:
    parts = [f"device {violation.device}"]
    if violation.ctx:
        parts.append(f"context {violation.ctx}, address {violation.va:#x}")
    if violation.bus:
        parts.append(f"at {bus(violation.bus)}")
    return ", ".join(parts)
