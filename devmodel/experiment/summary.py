"""Rows of results as a table for people, and as an object for machines."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from devmodel.experiment import columns, tables
from devmodel.experiment.results import Result

COUNTED = (
    "device_faults",
    "pages_to_device",
    "pages_to_system",
    "bytes_to_device",
    "bytes_to_system",
)
IN_HBM = "hbm_bytes_in_use"


def as_object(results: Sequence[Result], names: Sequence[str]) -> dict[str, Any]:
    """``{"results": [...]}`` with these fields, ready for JSON."""
    rows = [result.as_dict() for result in results]
    return {"results": [{name: row[name] for name in names} for row in rows]}


def table(results: Sequence[Result]) -> Table:
    """One line for each result."""
    # Every column keeps its width: a number that is cut off is a wrong number. 80 columns do.
    shown = tables.table(_title(results))
    shown.add_column("model", no_wrap=True)
    for heading in (*map(columns.heading, COUNTED), "TLB\nhits", columns.heading(IN_HBM)):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("checked", no_wrap=True)
    shown.add_column("wall\ns", justify="right", no_wrap=True)
    for result in results:
        shown.add_row(*_cells(result))
    return shown


def _title(results: Sequence[Result]) -> str:
    return ", ".join(dict.fromkeys(result.workload for result in results)) or "no results"


def _cells(result: Result) -> list[str]:
    rate = result.tlb_hit_rate
    return [
        result.model,
        *(columns.cell(name, getattr(result.counted, name)) for name in COUNTED),
        "-" if rate is None else f"{rate:.1%}",
        columns.cell(IN_HBM, result.hbm_bytes_in_use),
        "[green]yes[/]" if result.checked else "[bold red]no[/]",
        f"{result.wall_seconds:.2f}",
    ]
