"""`devmodel compare` of programs of a user's own, with machines that are none."""

from pathlib import Path
from typing import Any

import pytest
from fake_guest import KEYS, CompareMachine, install_guest, results, run_this
from test_results import ROW

from devmodel.errors import CommandTimeout, ConfigError
from devmodel.experiment import compare
from devmodel.experiment.config import Experiment
from devmodel.machine.config import Policy
from devmodel.machine.shell import Result as Done


@pytest.fixture(autouse=True)
def guest(monkeypatch: pytest.MonkeyPatch) -> None:
    install_guest(monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    return program


def own(program: Path, **changes: object) -> Experiment:
    workload: Any = {"program": program, "args": ["-n", "7 8"], **changes}
    return Experiment(models=("mirror", "private"), workloads=(workload,))


def test_a_program_is_put_there_and_counted_around(
    capsys: pytest.CaptureFixture[str], mine: Path
) -> None:
    assert run_this(own(mine))[0] == 0
    said = [name for model, name in CompareMachine.log if model == "private"][:5]
    assert said == ["test", "dm-reset", "rm", f"put {mine} /tmp/mine/mine", "mine"]
    assert CompareMachine.words[0] == ["./mine", "-n", "7 8"]
    rows = results(capsys)
    assert [(row["model"], row["workload"], row["checked"]) for row in rows] == [
        ("mirror", "mine", True),
        ("private", "mine", True),
    ]
    for row in rows:
        assert list(row) == KEYS
        assert (row["device_faults"], row["wall_seconds"]) == (ROW["device_faults"], 0.5)
        assert (row["hbm_bytes_in_use"], row["pages"], row["exit_code"]) == (4096, 0, 0)


@pytest.mark.parametrize(
    ("answer", "expect", "why"),
    [
        (Done(3, "", "a\nno input\n"), {}, "ended with 3, not 0: no input"),
        (Done(139, "", ""), {}, "ended with 139 (SIGSEGV), not 0: it said nothing"),
        (Done(0, "43\n", ""), {"stdout": "42"}, "its output is wrong: line 1 is '43', not '42'"),
        (Done(0, "", ""), {"stdout": "42"}, "its output is wrong: line 1 is missing: '42'"),
        (
            Done(0, "42\n2\n", ""),
            {"stdout": "42\n"},
            "its output is wrong: line 2 is one too many: '2'",
        ),
        (
            Done(0, "41\n", ""),
            {"same_output": True},
            "printed something else than in run 1 under mirror: line 1 is '41', not '42'",
        ),
        (Done(5, "", ""), {"exit_code": "same"}, "ended with 5, in run 1 under mirror with 0"),
        (Done(0, "42\n", ""), {"stdout": "42", "same_output": True}, ""),
        (Done(0, "", ""), {"exit_code": "same"}, ""),
    ],
)
def test_what_a_run_has_to_be(
    capsys: pytest.CaptureFixture[str], mine: Path, answer: Done, expect: object, why: str
) -> None:
    CompareMachine.odd = {("private", "mine"): answer}
    code, progress = run_this(own(mine, expect=expect))
    mirror, private = results(capsys)
    assert mirror["checked"]
    assert (private["checked"], private["why"]) == (not why, why)
    assert private["exit_code"] == answer.exit_code
    # The numbers are what they are.
    assert private["device_faults"] == ROW["device_faults"]
    assert code == (1 if why else 0)
    assert (f"private: mine: {why}" in progress.splitlines()) == bool(why)


def test_another_exit_code_may_be_right(capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    CompareMachine.odd = {("private", "mine"): Done(1, "", "")}
    assert run_this(own(mine, expect={"exit_code": 1}))[0] == 1
    assert [row["why"] for row in results(capsys)] == ["ended with 0, not 1: it said nothing", ""]


def test_a_run_that_is_wrong_is_no_reference(
    capsys: pytest.CaptureFixture[str], mine: Path
) -> None:
    CompareMachine.odd = {("mirror", "mine"): Done(1, "41\n", "")}
    run_this(own(mine, expect={"same_output": True}))
    assert [row["why"] for row in results(capsys)] == ["ended with 1, not 0: it said nothing", ""]


def test_repeats(capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    answers = [Done(0, "42\n", ""), CommandTimeout("killed"), Done(0, "x\n", "")]
    CompareMachine.odd = {("private", "mine"): answers}
    code, progress = run_this(own(mine, repeat=3, expect={"same_output": True}))
    assert code == 1
    rows = results(capsys)
    assert [(row["model"], row["run"], row["exit_code"]) for row in rows] == [
        *(("mirror", number, 0) for number in (1, 2, 3)),
        ("private", 1, 0),
        ("private", 2, None),
        ("private", 3, 0),
    ]
    assert [row["checked"] for row in rows] == [True] * 4 + [False] * 2
    said = [name for model, name in CompareMachine.log if model == "private"]
    assert said.count("mine") == 3
    # For each run, and before the device is lost.
    assert said.count("dm-reset") == 4
    assert "private: mine 2/3" in progress
    assert "private: mine, run 2: did not end within 240 s; it was killed" in progress
    assert "private: mine, run 3: printed something else than in run 1 under mirror" in progress


def test_medians_of_repeats(capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    CompareMachine.odd = {("private", "mine"): [Done(0, "", ""), Done(1, "", "")]}
    run_this(own(mine, repeat=2), as_json=False)
    shown = capsys.readouterr().out
    private = next(line for line in shown.splitlines() if " private " in f" {line}")
    assert private.split()[:4] == ["private", "1", "of", "2"]
    assert private.split()[-4:] == ["0.50", "0.50", "to", "0.50"]
    assert "the median of each number" in shown


@pytest.mark.parametrize(
    ("said", "checked", "why"),
    [
        ('one\n{"wall_seconds": 0.25, "cpu_faults": 3}\n', True, ""),
        ('{"checked": true, "wall_seconds": 0.25, "cpu_faults": 3, "mine": []}', True, ""),
        ('{"checked": false, "wall_seconds": 0.25, "cpu_faults": 3}', False, "a result is wrong"),
    ],
)
def test_a_report_goes_before_what_was_measured(
    capsys: pytest.CaptureFixture[str], mine: Path, said: str, checked: bool, why: str
) -> None:
    CompareMachine.odd = {("private", "mine"): Done(0, said, "")}
    CompareMachine.odd["mirror", "mine"] = Done(0, "not JSON\n{}\n", "")
    run_this(own(mine, reports=True))
    mirror, row = results(capsys)
    assert (mirror["checked"], mirror["wall_seconds"]) == (True, 0.5)
    assert (row["checked"], row["why"], row["exit_code"]) == (checked, why, 0)
    assert (row["wall_seconds"], row["cpu_faults"]) == (0.25, 3)
    assert row["device_faults"] == ROW["device_faults"]


def test_a_run_that_nobody_counted(capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    CompareMachine.odd = {
        ("private", "counts"): Done(1, "", "cat: no such file"),
        ("private", "mine"): Done(125, "", "dm-stats: stats: the device is lost\n"),
    }
    code, progress = run_this(own(mine))
    assert code == 1
    assert results(capsys)[1]["checked"] is False
    assert "private: mine: was not counted: dm-stats: stats: the device is lost" in progress


def test_machines_have_what_the_experiment_says(mine: Path, tmp_path: Path) -> None:
    triple = tmp_path / "triple.py"
    experiment = own(mine).model_copy(update={"programs": (triple,), "policy": Policy.ON_TOUCH})
    with pytest.raises(ConfigError, match=r"programs: no file .*triple\.py"):
        run_this(experiment)
    triple.write_text("")
    found = compare.machines(experiment)
    assert list(found) == ["mirror", "private"]
    for machine in found.values():
        assert machine.devices[0].programs == (triple,)
        assert machine.policy is Policy.ON_TOUCH
