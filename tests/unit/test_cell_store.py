"""Finished cells: there whole, or missing."""

import json
from pathlib import Path

import pytest

from devmodel.errors import (
    BootTimeout,
    CommandTimeout,
    DeviceLost,
    DevmodelError,
    GuestError,
    GuestHang,
    GuestOops,
    GuestPanic,
    HostNotReady,
    MachineLost,
)
from devmodel.experiment.job import JobFailed
from devmodel.experiment.results import Result
from devmodel.experiment.sweep.record import Outcome, Record, Where
from devmodel.experiment.sweep.store import Store

RESULT = Result.blank("private", "mine")
RECORD = Record(
    Outcome.WRONG,
    1,
    "it is “wrong”",
    3,
    "ab12",
    {**RESULT.as_dict(), "wall_seconds": 0.25},
    Where("0.1", "7.2", "10.0", "tcg", "here"),
    1.5,
    2.5,
)
KEY = "0123456789abcdef"


def test_what_is_put_is_there_for_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "cells")
    assert store.finished() == set()
    assert store.get(KEY) is None
    store.put(KEY, RECORD)
    again = Store(store.path)
    assert again.get(KEY) == RECORD
    assert again.finished() == {KEY}
    assert [path.name for path in store.path.iterdir()] == [f"{KEY}.json"]
    store.put(KEY, Record(Outcome.RIGHT, 0))
    assert again.get(KEY) == Record(Outcome.RIGHT, 0)
    store.forget(KEY)
    store.forget(KEY)
    assert again.get(KEY) is None


def test_a_torn_one_is_missing_wherever_it_is_torn(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEY, RECORD)
    path = tmp_path / f"{KEY}.json"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        assert store.get(KEY) is None, length
        # A disk that lost power: the length is there, the bytes are not.
        path.write_bytes(whole[:length] + bytes(len(whole) - length))
        assert store.get(KEY) is None, length
    path.write_bytes(whole)
    assert store.get(KEY) == RECORD


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"digest": "00"},
        {"record": []},
        {"record": {"outcome": "right"}},
        {"record": {**RECORD.as_dict(), "exit_code": 4}},
    ],
)
def test_another_one_is_missing(tmp_path: Path, change: dict[str, object]) -> None:
    store = Store(tmp_path)
    store.put(KEY, RECORD)
    path = tmp_path / f"{KEY}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert store.get(KEY) is None
    path.write_text("[]")
    assert store.get(KEY) is None


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cells")
    with pytest.raises(HostNotReady, match="Not a directory; set DEVMODEL_STATE to another"):
        store.put(KEY, RECORD)


def late() -> JobFailed:
    error = JobFailed("did not end within 1 s")
    error.__cause__ = CommandTimeout("it did not end")
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "final"),
    [
        (JobFailed("x"), Outcome.WRONG, True),
        (late(), Outcome.TIMEOUT, True),
        (CommandTimeout("x"), Outcome.TIMEOUT, True),
        (GuestPanic("x"), Outcome.PANIC, True),
        (GuestOops("x"), Outcome.OOPS, True),
        (GuestHang("x"), Outcome.HANG, True),
        # Not the cell's doing, as far as anybody knows.
        (DeviceLost("x"), Outcome.DEVICE_LOST, False),
        (MachineLost("x"), Outcome.MACHINE_LOST, False),
    ],
)
def test_what_becomes_of_an_error(error: GuestError, outcome: Outcome, final: bool) -> None:
    record = Record.failed(error, RESULT)
    assert (record.outcome, record.outcome.final) == (outcome, final)
    assert record.code == (
        1
        if outcome is Outcome.WRONG
        else (124 if outcome is Outcome.TIMEOUT else int(error.exit_code))
    )
    assert record.why


@pytest.mark.parametrize("error", [BootTimeout("a\nb"), HostNotReady("a\nb"), GuestPanic("a\nb")])
def test_what_no_guest_could_be_had_for_is_tried_again(error: DevmodelError) -> None:
    record = Record.not_started(error)
    assert (record.outcome, record.code, record.why) == (
        Outcome.NOT_STARTED,
        error.exit_code,
        "a b",
    )
    assert not record.outcome.final
