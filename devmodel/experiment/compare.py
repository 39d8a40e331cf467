"""Workloads x memory models: each model's VM runs all workloads, then its device is lost."""

from __future__ import annotations

import contextlib
import json as jsonlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from devmodel.errors import CommandTimeout, ConfigError, GuestError
from devmodel.experiment import agreement, comparison, corpus, fleet, job, provenance
from devmodel.experiment.comparison import Row
from devmodel.experiment.config import Experiment, Workload
from devmodel.experiment.job import JobFailed, Ran, Texts
from devmodel.experiment.results import Result
from devmodel.experiment.streams import Lines
from devmodel.machine.config import MachineConfig
from devmodel.machine.machine import Machine
from devmodel.machine.rundir import VmInfo
from devmodel.progress import Reporter

DEVICE = "/dev/devmodel0"
RESET_SECONDS = 60.0
LOST_SECONDS = 60.0
INTERRUPTED = 128 + signal.SIGINT


@dataclass
class ModelRun:
    """What came of one model, on one kernel."""

    vm: VmInfo
    rans: dict[str, list[Ran]] = field(default_factory=dict)
    """by workload, each run of it"""
    device_lost: str = "not tried"
    trouble: list[str] = field(default_factory=list)
    """one line for each thing that went wrong beside the runs"""

    def rows(self, machine: MachineConfig) -> list[Row]:
        """A row for each run."""
        return [
            Row(ran, self.device_lost, machine.policy, self.vm.kernel)
            for rans in self.rans.values()
            for ran in rans
        ]


class _Work:
    """All workloads in one model's VM. `runs` has what came of each machine, as far as it got."""

    def __init__(self, experiment: Experiment, texts: Texts) -> None:
        self._experiment = experiment
        self._texts = texts
        self.runs: dict[str, ModelRun] = {}

    def __call__(self, vm: Machine, part: fleet.Part[ModelRun]) -> ModelRun:
        model = vm.config.devices[0].model.value
        run = self.runs[part.model] = ModelRun(vm.info)
        if vm.run(["test", "-e", DEVICE]).exit_code:
            run.trouble.append(refusal(vm))
            return run
        for workload in self._experiment.workloads:
            rans = run.rans[workload.title] = []
            repeats = self._experiment.repeats(workload)
            for number in range(1, repeats + 1):
                part.tell(
                    workload.title if repeats == 1 else f"{workload.title} {number}/{repeats}"
                )
                failed = Ran(Result.blank(model, workload.title), number)
                try:
                    rans.append(self._once(vm, workload, number))
                except (JobFailed, CommandTimeout) as error:
                    rans.append(failed.wrong(str(error)))
                except GuestError as error:
                    # The guest did not survive it: no more of this model, and fleet says why.
                    # What was cut off says nothing of its workload.
                    if not part.cancelled:
                        rans.append(failed.wrong(error.message))
                    raise
        part.tell("losing the device")
        try:
            reset(vm)
            run.device_lost = lose_device(vm)
        except (JobFailed, CommandTimeout) as error:
            run.trouble.append(str(error))
        return run

    def _once(self, vm: Machine, workload: Workload, number: int) -> Ran:
        reset(vm)
        seconds = self._experiment.seconds(workload)
        return job.run(vm, workload, seconds=seconds, texts=self._texts, number=number)


def reset(vm: Machine) -> None:
    """The device as good as new. JobFailed if the driver does not take it again."""
    done = vm.run(["dm-reset"], timeout=RESET_SECONDS)
    if done.exit_code:
        raise JobFailed("the device could not be reset", details=done.stderr)


def refusal(vm: Machine) -> str:
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


def machines(experiment: Experiment) -> dict[str, MachineConfig]:
    """The machine of each model, on each kernel, by what they are called in messages.

    ConfigError if a file is missing.
    """
    return {
        model.value if kernel is None else f"{model.value} on {kernel}": experiment.machine(
            model, kernel=kernel
        )
        for model, kernel in product(experiment.models, experiment.kernels or (None,))
    }


def compare(
    experiment: Experiment, configs: Mapping[str, MachineConfig], console: Console, *, jobs: int
) -> tuple[dict[str, ModelRun], fleet.Outcome[ModelRun] | None]:
    """Run the workloads under each model, `jobs` models at a time.

    What came of each model, also of those that failed, and which did; None if it was interrupted.
    """
    files = [file for workload in experiment.workloads for file in workload.put]
    texts = corpus.texts({file.text for file in files if file.text}, configs, Reporter(console))
    work = _Work(experiment, texts)

    def came(model: str, run: ModelRun) -> None:
        comparison.show_table(run.rows(configs[model]), experiment.show, console)

    stages = experiment.runs + 1
    try:
        outcome = fleet.run(configs, work, console, stages=stages, width=jobs, came=came)
    except KeyboardInterrupt:
        outcome = None
    runs = {model: work.runs[model] for model in configs if model in work.runs}
    for workload in experiment.workloads:
        _settle(runs, workload)
    return runs, outcome


def _settle(runs: Mapping[str, ModelRun], workload: Workload) -> None:
    """Compare the runs of a workload with each other, where it says how."""
    with_it = [run for run in runs.values() if workload.title in run.rans]
    rans = [ran for run in with_it for ran in run.rans[workload.title]]
    settled = iter(agreement.settle(rans, workload.expect))
    for run in with_it:
        run.rans[workload.title] = [next(settled) for _ in run.rans[workload.title]]


def run(
    experiment: Experiment,
    *,
    command: Sequence[str],
    json: bool,
    csv: Path | None,
    report: Path | None,
    jobs: int,
    console: Console,
) -> int:
    """`devmodel compare`: progress and trouble go to `console`, the outcome to stdout.

    `command` is what was typed, for those who want to do it again. 0 if every run of every
    workload is checked under every model; if a guest failed, its exit code; 130 if it was
    interrupted. ConfigError for a file that cannot be written.
    """
    for option, file in (("--csv", csv), ("--report", report)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{option}: no folder {file.parent}", hint="make it first")
    configs = machines(experiment)
    runs, outcome = compare(experiment, configs, console, jobs=jobs)
    rows = [row for model, run in runs.items() for row in run.rows(configs[model])]
    # One workload's models stand below each other.
    order = [workload.title for workload in experiment.workloads]
    rows.sort(key=lambda row: order.index(row.result.workload))
    vms = {model: run.vm for model, run in runs.items()}
    data = comparison.as_object(rows, provenance.of(command, experiment, configs, vms))
    if json:
        comparison.write_json(data, sys.stdout)
    else:
        comparison.show(rows, experiment.show, Console(highlight=False))
    trouble = [_told(row) for row in rows if row.ran.why]
    trouble += [f"{model}: {line}" for model, run in runs.items() for line in run.trouble]
    for line in trouble:
        console.print(" ".join(line.split()), markup=False, soft_wrap=True)
    if outcome is not None:
        outcome.tell(console)
    if csv is not None:
        # Last: that it cannot be written must not cost what is shown.
        comparison.write_csv(rows, csv)
    if report is not None and rows:
        _write_report(data, report)
        console.print(f"report: {report}", markup=False, soft_wrap=True)
    if outcome is None:
        return INTERRUPTED
    whole = len(rows) == experiment.runs * len(configs)
    return outcome.exit_code or (0 if whole and not trouble else 1)


def _write_report(data: Mapping[str, Any], path: Path) -> None:
    # Only who wants one waits for what draws it.
    from devmodel.experiment.report import page, pictures, saved

    files = [saved.parse(data, path.stem)]
    page.write(files, *pictures.of(files), path)


def _told(row: Row) -> str:
    """What is not right with a run, in one line."""
    which = f", run {row.ran.number}" if row.ran.number > 1 else ""
    return f"{row.result.model}: {row.result.workload}{which}: {row.ran.why}"
