"""Workloads x memory models: each model's VM runs all workloads, then its device is lost."""

from __future__ import annotations

import contextlib
import json as jsonlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from devmodel.errors import CommandTimeout, ConfigError, GuestError
from devmodel.experiment import comparison, corpus, fleet, workloads
from devmodel.experiment.comparison import Row
from devmodel.experiment.results import Result
from devmodel.experiment.workloads import JobFailed, Lines, Workload
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

DEVICE = "/dev/devmodel0"
RESET_SECONDS = 60.0
LOST_SECONDS = 60.0


@dataclass
class ModelRun:
    """What came of one model."""

    results: list[Result] = field(default_factory=list)
    device_lost: str = "not tried"
    trouble: list[str] = field(default_factory=list)
    """one line for each thing that has no result, or not the right one"""


class _Work:
    """All workloads in one model's VM. `runs` has what came of each model, as far as it got."""

    def __init__(self, chosen: Sequence[Workload], text: Path | None) -> None:
        self._chosen = chosen
        self._text = text
        self.runs: dict[str, ModelRun] = {}

    def __call__(self, vm: Machine, tell: Callable[[str], None]) -> ModelRun:
        model = vm.config.devices[0].model.value
        run = self.runs[model] = ModelRun()
        if vm.run(["test", "-e", DEVICE]).exit_code:
            run.trouble.append(_refusal(vm))
            return run
        if self._text is not None:
            workloads.put(vm, self._text)
        for workload in self._chosen:
            tell(workload.name)
            try:
                _reset(vm)
                result = workloads.run(vm, workload)
            except (JobFailed, CommandTimeout) as error:
                run.trouble.append(str(error))
                result = Result.failed(model, workload.name)
            except GuestError:
                # The guest did not survive it: no more of this model, and fleet says why.
                run.results.append(Result.failed(model, workload.name))
                raise
            else:
                if not result.checked:
                    run.trouble.append(f"{workload.name}: a result is wrong")
            run.results.append(result)
        tell("losing the device")
        try:
            _reset(vm)
            run.device_lost = lose_device(vm)
        except (JobFailed, CommandTimeout) as error:
            run.trouble.append(str(error))
        return run


def _reset(vm: Machine) -> None:
    """The device as good as new. JobFailed if the driver does not take it again."""
    done = vm.run(["dm-reset"], timeout=RESET_SECONDS)
    if done.exit_code:
        raise JobFailed("the device could not be reset", details=done.stderr)


def _refusal(vm: Machine) -> str:
    """Why there is no device: the driver's own last words."""
    said = vm.run("dmesg | grep -i devmodel | tail -n 1").stdout.strip()
    return f"no {DEVICE}: {said or 'the driver was not loaded'}"


def lose_device(vm: Machine) -> str:
    """Kill the agent of device 0 while pages lie in HBM: what a touch of them does then.

    "kept" (the bytes are there), "SIGBUS", "wrong data" or "hang". The VM is good for nothing
    afterwards. JobFailed if the guest cannot tell.
    """
    vm.expect_device_lost()
    agent = vm.devices[0].pid

    def on_line(line: str) -> None:
        if line == "placed":
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent, signal.SIGKILL)

    lines = Lines(on_line)
    done = vm.run(["dm-device-lost"], timeout=LOST_SECONDS, stderr=lines)
    try:
        outcome = jsonlib.loads(done.stdout)["outcome"]
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailed(f"dm-device-lost ended with {done.exit_code}: {lines.text}") from error
    return str(outcome)


def compare(
    chosen: Sequence[Workload], models: Sequence[str], console: Console, *, jobs: int
) -> tuple[dict[str, ModelRun], fleet.Outcome[ModelRun]]:
    """Run the workloads under each of `models`, `jobs` models at a time.

    What came of each model, also of those that failed, and which did.
    """
    text = None
    if any(workload.text for workload in chosen):
        text = corpus.of_models(models, Reporter(console))
    work = _Work(chosen, text)

    def came(_: str, run: ModelRun) -> None:
        rows = [Row(result, run.device_lost) for result in run.results]
        width = max(console.width, comparison.WIDTH)
        console.print(comparison.table(rows), width=width, crop=False)

    outcome = fleet.run(models, work, console, stages=len(chosen) + 1, width=jobs, came=came)
    return {model: work.runs[model] for model in models if model in work.runs}, outcome


def run(
    names: Sequence[str],
    models: Sequence[str],
    *,
    json: bool,
    csv: Path | None,
    jobs: int,
    console: Console,
) -> int:
    """`devmodel compare`: progress and trouble go to `console`, the outcome to stdout.

    0 if every workload has a checked result under every model; if a guest failed, its exit code.
    ConfigError for unknown names, and for a file that cannot be written.
    """
    chosen = workloads.pick(names)
    if csv is not None and not csv.parent.is_dir():
        raise ConfigError(f"--csv: no folder {csv.parent}", hint="make it first")
    runs, outcome = compare(chosen, models, console, jobs=jobs)
    rows = [Row(result, run.device_lost) for run in runs.values() for result in run.results]
    # One workload's models stand below each other.
    rows.sort(key=lambda row: list(workloads.WORKLOADS).index(row.result.workload))
    if json:
        jsonlib.dump(comparison.as_object(rows), sys.stdout, indent=1)
        print()
    else:
        comparison.show(rows, Console(highlight=False))
    trouble = [f"{model}: {line}" for model, run in runs.items() for line in run.trouble]
    for line in trouble:
        console.print(" ".join(line.split()), markup=False, soft_wrap=True)
    outcome.tell(console)
    if csv is not None:
        # Last: that it cannot be written must not cost what is shown.
        comparison.write_csv(rows, csv)
    return outcome.exit_code or (1 if trouble or len(rows) != len(chosen) * len(models) else 0)
