"""The rows of `devmodel compare`, as a table for people and as data for machines."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from devmodel.errors import ConfigError
from devmodel.experiment import columns
from devmodel.experiment.results import Result

COUNTED = (
    "device_faults",
    "cpu_faults",
    "pages_to_device",
    "pages_to_system",
    "bytes_to_device",
    "bytes_to_system",
    "remote_bytes",
    "invalidates",
)
# Wider than the table ever is: on a narrow terminal it is better wrapped than cut off.
WIDTH = 200

NOTES = (
    *map(columns.meaning, COUNTED),
    "HBM: of the workload's pages, how many lay there when the work began, and when it ended.",
    "spill: pages in HBM of processes that do not use the device.",
    "What the CPU reads and writes in HBM (coherent, numa, cdm) is not counted: nothing can.",
)


@dataclass(frozen=True)
class Row:
    """A result, and what became of memory in HBM under its model when the device was lost."""

    result: Result
    device_lost: str

    def as_dict(self) -> dict[str, Any]:
        """Flat, for JSON and CSV."""
        return {**self.result.as_dict(), "device_lost": self.device_lost}


def as_object(rows: Sequence[Row]) -> dict[str, Any]:
    """``{"results": [...]}``, ready for JSON."""
    return {"results": [row.as_dict() for row in rows]}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line for each row below one of names. ConfigError if the file cannot be written."""
    try:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0].as_dict()) if rows else [])
            writer.writeheader()
            writer.writerows(row.as_dict() for row in rows)
    except OSError as error:
        raise ConfigError(f"--csv: {path}: {error.strerror}", hint="name another file") from error


def show(rows: Sequence[Row], console: Console) -> None:
    """The table, what its words mean, and what losing the device does under each model."""
    console.width = max(console.width, WIDTH)
    console.print(table(rows))
    console.print()
    for note in NOTES:
        console.print(note, style="dim", markup=False)
    lost = dict.fromkeys((row.result.model, row.device_lost) for row in rows)
    for model, word in lost:
        console.print(f"device lost, {model}: memory in HBM: {word}", markup=False)


def table(rows: Sequence[Row]) -> Table:
    """Workload by workload, a line for each model."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    shown.add_column("workload", no_wrap=True)
    shown.add_column("model", no_wrap=True)
    shown.add_column("checked", no_wrap=True)
    for heading in (
        *map(columns.heading, COUNTED),
        "HBM\nstart",
        "HBM\nend",
        "spill\npages",
        "wall\ns",
    ):
        shown.add_column(heading, justify="right", no_wrap=True)
    for workload, group in groupby(rows, key=lambda row: row.result.workload):
        for number, row in enumerate(group):
            shown.add_row("" if number else workload, *_cells(row.result))
        shown.add_section()
    return shown


def _cells(result: Result) -> list[str]:
    return [
        result.model,
        "[green]yes[/]" if result.checked else "[bold red]no[/]",
        *(columns.cell(name, getattr(result.counted, name)) for name in COUNTED),
        _part(result.hbm_at_start, result.pages),
        _part(result.hbm_at_end, result.pages),
        f"{result.spilled_pages}",
        f"{result.wall_seconds:.2f}",
    ]


def _part(pages: int, of: int) -> str:
    return f"{pages / of:.0%}" if of else "-"
