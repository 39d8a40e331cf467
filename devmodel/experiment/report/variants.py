"""Runs of several files side by side: each is called by its model, and by what sets it apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from devmodel.errors import ConfigError
from devmodel.experiment.report.saved import Run, Saved

Aspect = Callable[[Saved, Run], str]


def _kernel(saved: Saved, run: Run) -> str:
    kernel = saved.machines.get(run.result.model, {}).get("kernel")
    return str(kernel) if kernel else ""


# What may differ, the most telling first.
ASPECTS: tuple[Aspect, ...] = (lambda _, run: run.policy, _kernel, lambda saved, _: saved.name)


def merged(files: Sequence[Saved]) -> list[Run]:
    """All runs; those of one workload stand together.

    Their labels have as many aspects as it takes to tell runs of one model in different files
    apart. ConfigError if two files have the same name and results.
    """
    chosen: list[Aspect] = []
    for aspect in ASPECTS:
        if not _mixed(files, chosen):
            break
        if len({aspect(saved, run) for saved in files for run in saved.runs}) > 1:
            chosen.append(aspect)
    if _mixed(files, chosen):
        raise ConfigError(
            "two files of results have the same name, and the same in it", hint="rename one"
        )
    runs = [replace(run, label=_label(saved, run, chosen)) for saved in files for run in saved.runs]
    order = list(dict.fromkeys(run.workload for run in runs))
    return sorted(runs, key=lambda run: order.index(run.workload))


def _label(saved: Saved, run: Run, chosen: Sequence[Aspect]) -> str:
    words = [run.result.model, *(aspect(saved, run) for aspect in chosen)]
    return ", ".join(word for word in words if word)


def _mixed(files: Sequence[Saved], chosen: Sequence[Aspect]) -> bool:
    """Whether a label stands for runs of two files."""
    owner: dict[tuple[str, str], int] = {}
    return any(
        owner.setdefault((run.workload, _label(saved, run, chosen)), number) != number
        for number, saved in enumerate(files)
        for run in saved.runs
    )
