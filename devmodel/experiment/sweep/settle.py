"""Runs of one workload on the same input: did they come to the same under every machine?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from devmodel.experiment.config import Expect
from devmodel.experiment.sweep.table import Row


def settled(rows: Sequence[Row], expects: Mapping[str, Expect]) -> list[Row]:
    """The same rows; those are wrong that differ from the first one that nothing speaks against.

    Compared is where `expect` of the workload, by its name, says so.
    """
    first: dict[tuple[str, int | None, int | None], Row] = {}
    found = []
    for row in rows:
        point = row.point
        if not row.record.code:
            reference = first.setdefault((point.workload, point.size, point.seed), row)
            if why := _objection(row, reference, expects[point.workload]):
                row = replace(row, record=row.record.wrong(why))
        found.append(row)
    return found


def _objection(row: Row, reference: Row, expect: Expect) -> str:
    one, other = row.record, reference.record
    if expect.exit_code is None and one.exit_code != other.exit_code:
        return f"ended with {one.exit_code}, and {reference.point} with {other.exit_code}"
    if expect.same_output and one.output != other.output:
        return f"printed something else than {reference.point}"
    return ""
