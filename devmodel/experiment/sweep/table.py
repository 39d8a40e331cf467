"""The table of a sweep: a row for each cell that ended, in the grid's order. docs/sweeps.md.

The first columns say what was run and what came of it: they are the same however often, in which
order and by whom a grid is run. What may differ from one run to the next comes behind them, marked
in the schema by `measured: yes`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devmodel.abi.counters import BY_NAME, Counted
from devmodel.errors import ConfigError
from devmodel.experiment.results import GIVEN, Result
from devmodel.experiment.sweep.grid import Point
from devmodel.experiment.sweep.record import Outcome, Record

if TYPE_CHECKING:
    import pyarrow as pa

MEASURED = {b"measured": b"yes"}


@dataclass(frozen=True)
class Row:
    """A cell that ended."""

    point: Point
    key: str
    record: Record


@dataclass(frozen=True)
class Column:
    """One column: its type as pyarrow calls it."""

    name: str
    kind: str
    meaning: str
    measured: bool = False


FIXED = (
    Column("workload", "string", "its name in the experiment"),
    Column("model", "string", "memory model"),
    Column("kernel", "string", "as the sweep names it; null: that of the model's description"),
    Column("policy", "string", "what a device's touch does where nobody advised"),
    Column("size", "int64", "null without `sizes`"),
    Column("seed", "int64", "null without `seeds`"),
    Column("run", "int32", "of its repeats, from 1 on"),
    Column("outcome", "string", ", ".join(outcome.value for outcome in Outcome)),
    Column("checked", "bool", "whether the outcome is `right`"),
    Column("exit_code", "int32", "the program's; null if it did not end by itself"),
    Column("key", "string", "of what went into it; null if nothing could be run"),
    Column("devmodel", "string", "its version; null if no guest started"),
    Column("kernel_release", "string", "as `uname -r` has it; null if no guest started"),
)
_TOLD = ("spilled_pages", "pages", "system_at_start", "hbm_at_start", "system_at_end", "hbm_at_end")
AROUND = (
    Column("why", "string", "it is not right, in words; empty if it is", True),
    Column("output", "string", "SHA-256 of what it printed; null if that is not known", True),
    Column("wall_seconds", "double", "of what was counted", True),
    Column("seconds", "double", "all that the cell took, booting included", True),
    Column("began", "timestamp[ms, tz=UTC]", "when", True),
    Column("host", "string", "the machine that it ran on", True),
    Column("qemu", "string", "its QEMU's version", True),
    Column("accelerator", "string", "kvm or tcg", True),
)
COUNTED = (
    *(Column(field.name, "uint64", BY_NAME[field.name].meaning, True) for field in Counted.FIELDS),
    Column("hbm_bytes_in_use", "uint64", "the most that was seen", True),
    *(Column(name, "int64", "what the program tells of its pages", True) for name in _TOLD),
)
COLUMNS = FIXED + AROUND + COUNTED
_NUMBERS = tuple(column.name for column in COUNTED)
assert {*_NUMBERS, "wall_seconds", "checked", *GIVEN} == set(Result.blank("", "").as_dict())


def schema() -> pa.Schema:
    """As pyarrow has it; each field's metadata says what it means and whether it is measured."""
    import pyarrow as pa

    kinds: dict[str, Any] = {
        "string": pa.string(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "double": pa.float64(),
        "timestamp[ms, tz=UTC]": pa.timestamp("ms", tz="UTC"),
    }
    return pa.schema(
        [
            pa.field(
                column.name,
                kinds[column.kind],
                metadata={
                    b"meaning": column.meaning.encode(),
                    **(MEASURED if column.measured else {}),
                },
            )
            for column in COLUMNS
        ]
    )


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows, in their order."""
    import pyarrow as pa

    return pa.Table.from_pylist([_row(row) for row in rows], schema=schema())


def fixed(whole: pa.Table) -> pa.Table:
    """Without what is measured: equal for two runs of one grid."""
    return whole.select(
        [field.name for field in whole.schema if b"measured" not in (field.metadata or {})]
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """Replace the file, whole. The same rows give the same bytes. ConfigError if it cannot be."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table(rows), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error.strerror or str(error)) from error


def unwritable(path: Path, why: str) -> ConfigError:
    """The error for a table that cannot be there."""
    return ConfigError(f"-o {path}: {why}", hint="name another file")


def _row(row: Row) -> dict[str, Any]:
    point, record, where = row.point, row.record, row.record.where
    result = record.result
    return {
        "workload": point.workload,
        "model": point.model,
        "kernel": point.kernel,
        "policy": point.policy,
        "size": point.size,
        "seed": point.seed,
        "run": point.run,
        "outcome": record.outcome.value,
        "checked": record.outcome is Outcome.RIGHT,
        "exit_code": record.exit_code,
        "key": row.key or None,
        "devmodel": where.devmodel or None,
        "kernel_release": where.kernel_release or None,
        "why": record.why,
        "output": record.output or None,
        "wall_seconds": result.get("wall_seconds"),
        "seconds": record.seconds,
        "began": int(record.began * 1000) if record.began else None,
        "host": where.host or None,
        "qemu": where.qemu or None,
        "accelerator": where.accelerator or None,
        **{name: result.get(name) for name in _NUMBERS},
    }
