"""From an experiment to its cells: each is one run, with everything filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from devmodel import sizes
from devmodel.errors import ConfigError
from devmodel.experiment.config import Expect, Experiment, Workload
from devmodel.experiment.sweep.axes import MOST_CELLS, Axes, filled
from devmodel.machine.config import MachineConfig


@dataclass(frozen=True)
class Point:
    """Where in the grid a cell lies. None: the sweep has no such axis."""

    workload: str
    model: str
    kernel: str | None
    """as the experiment names it; None for that of the model's description"""
    policy: str
    size: int | None
    seed: int | None
    run: int
    """of its repeats, from 1 on"""

    def __str__(self) -> str:
        """As in `mine private on_touch size=64K seed=1`."""
        words = [self.workload, self.model, *([self.kernel] if self.kernel else []), self.policy]
        if self.size is not None:
            words.append(f"size={sizes.show(self.size)}")
        if self.seed is not None:
            words.append(f"seed={self.seed}")
        if self.run > 1:
            words.append(f"run={self.run}")
        return " ".join(words)


@dataclass(frozen=True)
class Cell:
    """One run. Travels to other processes."""

    point: Point
    machine: MachineConfig
    workload: Workload
    """its words filled in"""
    seconds: float
    """that it may take"""


def axes(experiment: Experiment) -> Axes:
    """Those of the experiment. ConfigError if an argument wants one that it has not."""
    found = experiment.sweep or Axes()
    for workload in experiment.workloads:
        try:
            found.check(workload.title, (*workload.command, *workload.args))
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return found


def size(experiment: Experiment) -> int:
    """How many cells there are; none is made."""
    found = axes(experiment)
    ways = (found.kernels, found.policies, found.sizes, found.seeds)
    return experiment.runs * len(experiment.models) * prod(len(way) or 1 for way in ways)


def cells(experiment: Experiment) -> list[Cell]:
    """All of them, those of one machine next to each other.

    ConfigError if there are too many, or a kernel cannot be for a model.
    """
    count = size(experiment)
    if count > MOST_CELLS:
        found = axes(experiment)
        parts = {
            "runs": experiment.runs,
            "models": len(experiment.models),
            "kernels": len(found.kernels),
            "policies": len(found.policies),
            "sizes": len(found.sizes),
            "seeds": len(found.seeds),
        }
        shown = " x ".join(f"{number} {name}" for name, number in parts.items() if number > 1)
        raise ConfigError(
            f"the grid has {count} cells ({shown}), and {MOST_CELLS} are the most",
            hint="leave out values, or make more than one file of it",
        )
    return list(_cells(experiment))


def _cells(experiment: Experiment) -> Iterator[Cell]:
    found = axes(experiment)
    for model, kernel, policy in product(
        experiment.models, found.kernels or (None,), found.policies or (None,)
    ):
        where = f"sweep.kernels under {model.value}:"
        machine = experiment.machine(model, kernel=kernel, policy=policy, where=where)
        for workload, size, seed in product(
            experiment.workloads, found.sizes or (None,), found.seeds or (None,)
        ):
            values = {
                "model": model.value,
                "kernel": kernel,
                "policy": machine.policy.value,
                "size": size,
                "seed": seed,
            }
            ready = workload.model_copy(
                update={
                    "name": workload.title,
                    "command": filled(workload.command, values),
                    "args": filled(workload.args, values),
                    "expect": _expected(workload.expect, values),
                }
            )
            for run in range(1, experiment.repeats(workload) + 1):
                point = Point(
                    workload.title, model.value, kernel, machine.policy.value, size, seed, run
                )
                yield Cell(point, machine, ready, experiment.seconds(workload))


def _expected(expect: Expect, values: Mapping[str, object]) -> Expect:
    if expect.stdout is None:
        return expect
    (stdout,) = filled((expect.stdout,), values)
    return expect.model_copy(update={"stdout": stdout})
