"""The rows of `devmodel compare`, as a table for people and as data for machines."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from devmodel.errors import ConfigError
from devmodel.experiment import columns, tables
from devmodel.experiment.job import Ran
from devmodel.experiment.results import Result
from devmodel.machine.config import Policy

# Wider than the table ever is: on a narrow terminal it is better wrapped than cut off.
WIDTH = 200

# What the words of columns mean that are no counters'.
NOTES = {
    "hbm_at_end": "HBM: of the workload's pages, how many lay there when the work began, and when "
    "it ended.",
    "spilled_pages": "spill: pages in HBM of processes that do not use the device.",
}
UNSEEN = "What the CPU reads and writes in HBM (coherent, numa, cdm) is not counted: nothing can."
REPEATED = "Of several runs, the median of each number; of the time, the least and the most, too."


@dataclass(frozen=True)
class Row:
    """A run, and what became of memory in HBM under its model when the device was lost."""

    ran: Ran
    device_lost: str
    policy: Policy = Policy.IN_PLACE
    kernel: str = ""

    @property
    def result(self) -> Result:
        """What it cost."""
        return self.ran.result

    def as_dict(self) -> dict[str, Any]:
        """Flat, for JSON and CSV."""
        return {
            **self.result.as_dict(),
            "device_lost": self.device_lost,
            "policy": self.policy.value,
            "kernel": self.kernel,
            "run": self.ran.number,
            "exit_code": self.ran.exit_code,
            "why": self.ran.why,
        }


def as_object(rows: Sequence[Row], made: Mapping[str, Any]) -> dict[str, Any]:
    """``{"results": [...], "samples": [...], "made": {...}}``, ready for JSON.

    A row for each run, and its samples, if there are any; `made` is where it all comes from.
    """
    return {
        "results": [row.as_dict() for row in rows],
        "samples": [
            {
                "model": row.result.model,
                "workload": row.result.workload,
                "run": row.ran.number,
                **row.ran.samples.columns,
            }
            for row in rows
            if len(row.ran.samples)
        ],
        "made": dict(made),
    }


def write_json(data: Mapping[str, Any], out: TextIO) -> None:
    """One JSON object, in which each row has a line."""
    parts = [f"{json.dumps(name)}: {_lines(value)}" for name, value in data.items()]
    out.write("{" + ",\n".join(parts) + "}\n")


def _lines(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    return "[" + ",".join(f"\n {json.dumps(row)}" for row in value) + "]"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line for each row below one of names. ConfigError if the file cannot be written."""
    try:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0].as_dict()) if rows else [])
            writer.writeheader()
            writer.writerows(row.as_dict() for row in rows)
    except OSError as error:
        raise ConfigError(f"--csv: {path}: {error.strerror}", hint="name another file") from error


@dataclass(frozen=True)
class _Wide:
    """A table as wide as it is, however narrow the terminal."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.table, options.update(width=max(options.max_width, WIDTH)))


def show_table(rows: Sequence[Row], names: Sequence[str], console: Console) -> None:
    """The table alone."""
    console.print(_Wide(table(rows, names)), crop=False)


def show(rows: Sequence[Row], names: Sequence[str], console: Console) -> None:
    """The table, what its words mean, and what losing the device does under each model."""
    show_table(rows, names, console)
    console.print()
    told = [name for name in names if name in columns.TOLD]
    notes = [columns.meaning(name) for name in names if name not in told]
    notes += [note for name, note in NOTES.items() if name in told]
    for note in (*notes, UNSEEN, *([REPEATED] if _repeated(rows) else [])):
        console.print(note, style="dim", markup=False, soft_wrap=True)
    kernels = _kernels(rows)
    lost = dict.fromkeys(
        (row.result.model, f" on {row.kernel}" * kernels, row.device_lost) for row in rows
    )
    for model, kernel, word in lost:
        line = f"device lost, {model}{kernel}: memory in HBM: {word}"
        console.print(line, markup=False, soft_wrap=True)


def table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """Workload by workload, a line for each model and kernel."""
    shown = tables.table()
    shown.add_column("workload", no_wrap=True)
    shown.add_column("model", no_wrap=True)
    kernels = _kernels(rows)
    if kernels:
        shown.add_column("kernel", no_wrap=True)
    shown.add_column("checked", no_wrap=True)
    repeated = _repeated(rows)
    headings = [*map(columns.heading, names), "wall\ns"]
    if repeated:
        headings.append("least\nto most")
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for workload, group in groupby(rows, key=lambda row: row.result.workload):
        machines = groupby(group, key=lambda row: (row.result.model, row.kernel))
        for number, ((model, kernel), same) in enumerate(machines):
            results = [row.result for row in same]
            first = ["" if number else workload, model, *([kernel] if kernels else [])]
            shown.add_row(*first, *_cells(results, names, repeated=repeated))
        shown.add_section()
    return shown


def _kernels(rows: Sequence[Row]) -> bool:
    """Whether there is more than one."""
    return len({row.kernel for row in rows}) > 1


def _repeated(rows: Sequence[Row]) -> bool:
    return any(row.ran.number > 1 for row in rows)


def _cells(results: Sequence[Result], names: Sequence[str], *, repeated: bool) -> list[str]:
    """The line of one workload under one model, without its name."""
    good = [result for result in results if result.checked]
    word = f"{len(good)} of {len(results)}" if repeated else "yes" if good else "no"
    colour = "green" if len(good) == len(results) else "bold red"
    # What failed has no numbers, or not the right ones.
    counted = good or results
    seconds = [result.wall_seconds for result in counted]
    cells = [
        f"[{colour}]{word}[/]",
        *(_cell(counted, name) for name in names),
        f"{median(seconds):.2f}",
    ]
    if repeated:
        cells.append(f"{min(seconds):.2f} to {max(seconds):.2f}")
    return cells


def _cell(results: Sequence[Result], name: str) -> str:
    pages = median(result.pages for result in results)
    value = median(_number(result, name) for result in results)
    if name not in columns.TOLD:
        return columns.cell(name, value)
    if not pages:
        return "-"
    return f"{value:.0f}" if name == "spilled_pages" else f"{value / pages:.0%}"


def _number(result: Result, name: str) -> int:
    """A counter, or a field."""
    found = getattr(result if hasattr(result, name) else result.counted, name)
    assert isinstance(found, int)
    return found
