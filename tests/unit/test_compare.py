"""`devmodel compare`, with machines that are none: what is run, what becomes of failures."""

import csv
import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest
from fake_guest import KEYS, SHIPPED, CompareMachine, install_guest, results, run_this
from fake_machine import AGENT, FakeMachine
from test_results import ROW

import devmodel
from devmodel.cli import main as cli
from devmodel.errors import (
    CommandTimeout,
    ConfigError,
    CopyFailed,
    ExitCode,
    GuestOops,
    LaunchFailed,
    MachineLost,
)
from devmodel.experiment.config import DEFAULT, Experiment
from devmodel.machine.shell import Result as Done

SECONDS = 10


@pytest.fixture(autouse=True)
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    return install_guest(monkeypatch)


def run(
    *names: str, models: str = "mirror,private", csv: Path | None = None, jobs: int = 1
) -> tuple[int, str]:
    experiment = Experiment.load(DEFAULT).chosen(names)
    chosen = Experiment(models=models.split(","), workloads=experiment.workloads)
    return run_this(chosen, csv, jobs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_workload_under_every_model(
    capsys: pytest.CaptureFixture[str], jobs: int, killed: list[tuple[int, int]]
) -> None:
    code, progress = run(jobs=jobs)
    assert code == 0
    rows = results(capsys)
    assert [(row["workload"], row["model"]) for row in rows] == [
        (name, model) for name in SHIPPED for model in ("mirror", "private")
    ]
    assert [list(row) for row in rows] == [KEYS] * len(rows)
    assert {row["device_lost"] for row in rows} == {"SIGBUS"}
    assert {(row["policy"], row["run"], row["exit_code"], row["why"]) for row in rows} == {
        ("in_place", 1, 0, "")
    }
    assert killed == [(AGENT, signal.SIGKILL)] * 2
    assert "private: ping-pong" in progress
    assert sorted(FakeMachine.closed) == ["mirror", "private"]


def test_samples_and_where_results_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    run("kv", models="private")
    data = json.loads(capsys.readouterr().out)
    assert data["samples"] == [
        {
            "model": "private",
            "workload": "kv",
            "run": 1,
            "seconds": [0.0, 0.5],
            "hbm_bytes_in_use": [0, 4096],
        }
    ]
    made = data["made"]
    assert made["command"] == ["devmodel", "compare"]
    assert made["devmodel"] == devmodel.__version__
    machine = made["machines"]["private"]
    assert (machine["kernel"], machine["qemu"], machine["accelerator"]) == ("7.2.0", "11.0", "tcg")
    assert machine["config"]["devices"][0]["model"] == "private"
    assert [item["name"] for item in made["experiment"]["workloads"]] == ["kv"]
    assert made["host"]["memory_bytes"] > 0


def test_a_report_at_once(tmp_path: Path) -> None:
    file = tmp_path / "table.html"
    experiment = Experiment.load(DEFAULT).chosen(["kv"])
    code, said = run_this(experiment, report=file)
    assert code == 0
    assert f"report: {file}" in said
    assert "5 of 5 runs are right" in file.read_text()
    with pytest.raises(ConfigError, match="--report: no folder"):
        run_this(experiment, report=tmp_path / "no" / "table.html")


def test_what_came_of_a_model_is_shown_at_once_and_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, progress = run("kv")
    capsys.readouterr()
    lines = progress.splitlines()
    first, second = (number for number, line in enumerate(lines) if line.startswith("kv  "))
    (booting,) = (number for number, line in enumerate(lines) if "private: booting" in line)
    assert first < booting < second
    # Wider than this console; nothing is cut off.
    assert lines[first].split()[:4] == ["kv", "mirror", "yes", str(ROW["device_faults"])]
    assert "…" not in progress


def test_one_vm_for_a_model_and_a_device_like_new_for_each_workload() -> None:
    assert run("kv", "stream", "kv", models="private")[0] == 0
    said = [name for _, name in CompareMachine.log]
    assert said == ["test", "dm-reset", "stream", "dm-reset", "kv", "dm-reset", "dm-device-lost"]
    assert FakeMachine.closed == ["private"]


def test_the_text_goes_only_to_those_that_read_it() -> None:
    run("wordindex", "kv", models="private")
    said = [name for _, name in CompareMachine.log]
    # Its folder, fresh.
    assert said[:4] == ["test", "dm-reset", "rm", "put /corpus.txt /tmp/wordindex/corpus.txt"]
    assert said[4:] == ["wordindex", "dm-reset", "kv", "dm-reset", "dm-device-lost"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Done(1, json.dumps({**ROW, "workload": "kv", "checked": False}), ""), "a result is wrong"),
        (
            Done(139, "", ""),
            "kv: ended with 139 (SIGSEGV) and without a result: it said nothing; see /vms/private",
        ),
        (Done(2, json.dumps(ROW), "last\n"), "kv: ended with 2, not 0: last"),
        (CommandTimeout("killed"), "kv: did not end within 240 s; it was killed"),
    ],
)
def test_a_workload_that_fails_is_a_row_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], answer: object, why: str
) -> None:
    CompareMachine.odd = {("private", "kv"): answer}
    code, progress = run("kv", "stream")
    assert code == 1
    checked = {(row["workload"], row["model"]): row["checked"] for row in results(capsys)}
    assert checked == {
        ("stream", "mirror"): True,
        ("stream", "private"): True,
        ("kv", "mirror"): True,
        ("kv", "private"): False,
    }
    (line,) = [line for line in progress.splitlines() if why in line]
    assert line.startswith("private: ")


def test_what_fails_says_why_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    CompareMachine.odd = {("private", "kv"): Done(2, json.dumps(ROW), "last\n")}
    run("kv")
    assert [(row["checked"], row["why"]) for row in results(capsys)] == [
        (True, ""),
        (False, "ended with 2, not 0: last"),
    ]


def test_a_device_that_cannot_be_reset(capsys: pytest.CaptureFixture[str]) -> None:
    CompareMachine.odd = {("private", "dm-reset"): Done(1, "", "busy")}
    code, progress = run("kv")
    assert code == 1
    assert [row["checked"] for row in results(capsys)] == [True, False]
    assert "private: kv: the device could not be reset" in progress


def test_a_model_that_the_driver_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    CompareMachine.odd = {
        ("private", "test"): Done(1, "", ""),
        ("private", "dmesg"): Done(0, "[ 1.2] devmodel: this kernel cannot\n", ""),
    }
    code, progress = run("kv")
    assert code == 1
    assert [row["model"] for row in results(capsys)] == ["mirror"]
    assert "private: no /dev/devmodel0: [ 1.2] devmodel: this kernel cannot" in progress


@pytest.mark.parametrize("said", ["", "[]", "{}", "Killed"])
def test_a_loss_that_nobody_can_tell_of(capsys: pytest.CaptureFixture[str], said: str) -> None:
    CompareMachine.odd = {("private", "dm-device-lost"): Done(1, said, "")}
    code, progress = run("kv", models="private")
    assert code == 1
    assert results(capsys)[0]["device_lost"] == "not tried"
    assert "private: dm-device-lost ended with 1" in progress


def test_a_guest_that_does_not_survive_costs_no_more_than_its_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was done before stands: of the other models, and of its own."""
    error = GuestOops("the kernel complained", hint="see its log", details="BUG: ...")
    CompareMachine.odd = {("mirror", "bfs"): error}
    file = tmp_path / "table.csv"
    code, progress = run("kv", "stream", "bfs", csv=file)
    assert code == ExitCode.OOPS
    checked = {(row["workload"], row["model"]): row["checked"] for row in results(capsys)}
    assert checked == {
        ("stream", "mirror"): True,
        ("stream", "private"): True,
        ("bfs", "mirror"): False,
        ("bfs", "private"): True,
        ("kv", "private"): True,
    }
    with file.open(newline="") as text:
        assert len(list(csv.DictReader(text))) == len(checked)
    assert "mirror: the kernel complained; see its log" in progress.splitlines()


def test_a_guest_that_does_not_start_costs_no_more_than_its_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    FakeMachine.outputs = {"mirror": LaunchFailed("no QEMU")}
    code, progress = run("kv")
    assert code == ExitCode.LAUNCH
    assert [row["model"] for row in results(capsys)] == ["private"]
    assert "mirror: no QEMU" in progress.splitlines()


def test_a_guest_that_takes_no_text_costs_its_workload_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CopyFailed("/tmp/wordindex/corpus.txt: No space left on device")

    monkeypatch.setattr(CompareMachine, "put", full)
    code, progress = run("wordindex", "kv", models="private")
    assert code == 1
    assert [row["checked"] for row in results(capsys)] == [False, True]
    assert "private: wordindex: /corpus.txt could not be copied into the guest: " in progress


def test_a_csv_that_cannot_be_written_costs_no_more_than_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--csv: .*Is a directory; name another file"):
        run("kv", csv=tmp_path)
    assert len(results(capsys)) == 2


def test_csv_has_what_json_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    run("kv", csv=file)
    rows = results(capsys)
    with file.open(newline="") as text:
        lines = list(csv.DictReader(text))
    assert lines == [{name: str(value) for name, value in row.items()} for row in rows]
    assert list(lines[0]) == KEYS


def test_csv_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        run("kv", csv=tmp_path / "none" / "table.csv")
    assert CompareMachine.log == []


@pytest.mark.parametrize(
    ("name", "hint"), [("pingpong", "did you mean ping-pong"), ("xyz", "there are wordindex, ")]
)
def test_an_unknown_workload_is_one_line(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run("kv", name)
    assert str(caught.value).startswith(f"no workload {name!r}; {hint}")
    assert CompareMachine.log == []


def test_ctrl_c_keeps_what_is_finished(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    CompareMachine.odd = {("private", "stream"): KeyboardInterrupt()}
    file = tmp_path / "table.csv"
    code, _ = run("kv", "stream", csv=file)
    assert code == 128 + signal.SIGINT
    assert [(row["workload"], row["model"]) for row in results(capsys)] == [
        ("stream", "mirror"),
        ("kv", "mirror"),
    ]
    with file.open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 2
    assert FakeMachine.closed == ["mirror", "private"]


def test_what_ctrl_c_cut_off_is_no_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its QEMU is ended under it."""
    running, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(CompareMachine, "qemu_pid", AGENT)
    monkeypatch.setattr(os, "kill", lambda *_: ended.set())

    def cut() -> Exception:
        running.set()
        assert ended.wait(SECONDS)
        return MachineLost("QEMU ended")

    def interrupt() -> BaseException:
        assert running.wait(SECONDS)
        return KeyboardInterrupt()

    CompareMachine.odd = {("mirror", "stream"): cut, ("private", "stream"): interrupt}
    experiment = Experiment(
        models=("mirror", "private"),
        workloads=Experiment.load(DEFAULT).chosen(["kv", "stream"]).workloads,
    )
    assert run_this(experiment, jobs=2)[0] == 128 + signal.SIGINT
    assert [(row["workload"], row["model"]) for row in results(capsys)] == []


def test_kernels_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment(
        models=("mirror", "private"),
        kernels=("7.2", "7.3"),
        workloads=Experiment.load(DEFAULT).chosen(["kv"]).workloads,
    )
    code, progress = run_this(experiment)
    assert code == 0
    assert "private on 7.3: kv" in progress
    assert [(row["model"], row["kernel"]) for row in results(capsys)] == [
        (model, kernel) for model in ("mirror", "private") for kernel in ("7.2", "7.3")
    ]
    assert run_this(experiment, as_json=False)[0] == 0
    table = capsys.readouterr().out
    assert re.search(r"^ +private +7\.3 +yes ", table, re.MULTILINE)
    assert "device lost, mirror on 7.2: memory in HBM: SIGBUS" in table


def test_a_kernel_that_there_is_not_is_said_before_anything_boots(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["compare", "kv", "--kernels", "7.2,7.33"]) == 2
    said = capsys.readouterr().err
    assert "no kernel '7.33'; did you mean 7.3?; or name a tree or a bzImage" in said
