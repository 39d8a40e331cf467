"""Rows of results: parsed strictly, shown in full."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from devmodel.abi.counters import Counted
from devmodel.experiment import summary
from devmodel.experiment.results import BadResult, Result

ROW: dict[str, Any] = {
    "model": "private",
    "workload": "wordindex",
    "checked": True,
    **{field.name: 8 for field in Counted.FIELDS},
    "device_faults": 1234567,
    "cpu_faults": 432,
    "pages_to_device": 12345,
    "pages_to_system": 12344,
    "bytes_to_device": 1 << 30,
    "bytes_to_system": 3 << 19,
    "remote_bytes": 5 << 19,
    "invalidates": 77,
    "tlb_hits": 999,
    "tlb_misses": 1,
    "spilled_pages": 4096,
    "wall_seconds": 12.5,
    "pages": 1000,
    "system_at_start": 900,
    "hbm_at_start": 0,
    "system_at_end": 250,
    "hbm_at_end": 750,
    "hbm_bytes_in_use": 256 << 20,
}


def row(**changes: object) -> Result:
    changed = {**ROW, **changes}
    return Result.blank(changed["model"], changed["workload"]).told(json.dumps(changed))


def test_a_result_is_the_fields_and_no_more() -> None:
    assert row(checks=5, phases={}).as_dict() == ROW
    assert list(row().as_dict()) == list(ROW)
    assert row(wall_seconds=3).wall_seconds == 3.0


def test_what_is_not_told_stays() -> None:
    told = row().told(json.dumps({"wall_seconds": 0.5, "cpu_faults": 1, "model": "numa"}))
    assert told.as_dict() == {**ROW, "wall_seconds": 0.5, "cpu_faults": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("Killed", "not JSON"),
        ("[1]", "not an object"),
        (json.dumps({**ROW, "checked": 1}), "checked is 1, not a bool"),
        (json.dumps({**ROW, "device_faults": True}), "device_faults is True"),
        (json.dumps({**ROW, "tlb_hits": 1.5}), "tlb_hits is 1.5"),
        (json.dumps({**ROW, "wall_seconds": "1"}), "wall_seconds is '1'"),
    ],
)
def test_what_is_no_result(text: str, why: str) -> None:
    with pytest.raises(BadResult, match=why):
        row().told(text)


def test_the_hit_rate() -> None:
    assert row().tlb_hit_rate == 0.999
    assert row(tlb_hits=0, tlb_misses=0).tlb_hit_rate is None


def test_the_object_for_machines() -> None:
    assert summary.as_object([row(), row(model="mirror")], ["checked", "model"]) == {
        "results": [{"checked": True, "model": "private"}, {"checked": True, "model": "mirror"}]
    }


def test_of_what_failed_nothing_is_known() -> None:
    failed = Result.blank("numa", "kv").as_dict()
    assert list(failed) == list(ROW)
    assert {name: type(value) for name, value in failed.items()} == {
        name: type(value) for name, value in ROW.items()
    }
    assert (failed["model"], failed["workload"], failed["checked"]) == ("numa", "kv", False)


def test_the_table_fits_80_columns_uncut() -> None:
    out = io.StringIO()
    results = [row(), row(model="coherent", checked=False, tlb_hits=0, tlb_misses=0)]
    Console(file=out, width=80).print(summary.table(results))
    text = out.getvalue()
    for shown in ("1234567", "12345", "1024.0", "1.5", "99.9%", "256.0", "12.50", "coherent"):
        assert shown in text
    assert "…" not in text
    first, second = text.strip().splitlines()[-2:]
    assert " yes " in first
    assert " no " in second


def test_an_empty_table() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(summary.table([]))
    assert "no results" in out.getvalue()
