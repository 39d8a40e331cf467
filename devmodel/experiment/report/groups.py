"""Runs of one workload under one label together: their medians are what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from devmodel.experiment.report.saved import Run


@dataclass(frozen=True)
class Group:
    """The repeats of one workload under one model (`label`)."""

    workload: str
    label: str
    runs: tuple[Run, ...]

    @property
    def good(self) -> list[Run]:
        """Those that are right: of a run that failed, numbers say nothing."""
        return [run for run in self.runs if run.result.checked]

    @property
    def seconds(self) -> list[float]:
        """How long each took that is right."""
        return [run.result.wall_seconds for run in self.good]

    def number(self, name: str) -> float:
        """The median of a counter, or of a field, over the runs that are right."""
        return float(median(number(run, name) for run in self.good))

    @property
    def typical(self) -> Run:
        """Of the right runs the one whose time is the median, or just below it."""
        ordered = sorted(self.good, key=lambda run: run.result.wall_seconds)
        return ordered[(len(ordered) - 1) // 2]


def number(run: Run, name: str) -> float:
    """A counter, or a field."""
    result = run.result
    return float(getattr(result if hasattr(result, name) else result.counted, name))


def grouped(runs: Sequence[Run]) -> list[Group]:
    """In the order in which they first come."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.workload, run.label), []).append(run)
    return [Group(workload, label, tuple(same)) for (workload, label), same in found.items()]
