"""`devmodel compare`, with machines that are none: what is run, what becomes of failures."""

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_machine import AGENT, FakeMachine, install
from rich.console import Console
from test_results import ROW

from devmodel.abi.counters import Counted
from devmodel.errors import CommandTimeout, ConfigError, ExitCode, GuestOops, LaunchFailed
from devmodel.experiment import compare, workloads
from devmodel.machine.shell import Result as Done

KEYS = [
    "model",
    "workload",
    "checked",
    *(field.name for field in Counted.FIELDS),
    "spilled_pages",
    "wall_seconds",
]


class CompareMachine(FakeMachine):
    """Answers as a guest with a device; `odd` has what is different, by command or workload."""

    odd: ClassVar[dict[tuple[str, str], Any]] = {}
    log: ClassVar[list[tuple[str, str]]] = []
    expects_loss = False

    def put(self, source: Path, target: str) -> None:
        assert (source, target) == (Path("/corpus.txt"), workloads.GUEST_TEXT)
        self.log.append((self.model, "put"))

    def expect_device_lost(self) -> None:
        self.expects_loss = True

    def run(self, command: Any, *, timeout: float = 60.0, stderr: Any = None) -> Done:
        assert timeout
        words = command.split() if isinstance(command, str) else command
        name = words[1] if words[0] == "patterns" else words[0]
        self.log.append((self.model, name))
        usual: Any = Done(0, "", "")
        if name == "dm-device-lost":
            assert self.expects_loss
            stderr.write(b"pla")
            stderr.write(b"ced\n")
            usual = Done(0, json.dumps({"outcome": "SIGBUS", "hbm_pages": 64}), "")
        elif stderr is not None:
            row = {**ROW, "model": self.model, "workload": name, "tokens": 3}
            usual = Done(0, json.dumps(row), "")
        answer = self.odd.get((self.model, name), usual)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Done)
        return answer


@pytest.fixture(autouse=True)
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    install(monkeypatch, CompareMachine)
    monkeypatch.setattr(compare.corpus, "of_models", lambda *_: Path("/corpus.txt"))
    CompareMachine.odd, CompareMachine.log = {}, []
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    return found


def run(
    *names: str, models: str = "mirror,private", csv: Path | None = None, jobs: int = 1
) -> tuple[int, str]:
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    code = compare.run(names, models.split(","), json=True, csv=csv, jobs=jobs, console=console)
    return code, shown.getvalue()


def results(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["results"]
    found: list[dict[str, Any]] = data["results"]
    return found


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_workload_under_every_model(
    capsys: pytest.CaptureFixture[str], jobs: int, killed: list[tuple[int, int]]
) -> None:
    code, progress = run(jobs=jobs)
    assert code == 0
    rows = results(capsys)
    assert [(row["workload"], row["model"]) for row in rows] == [
        (name, model) for name in workloads.WORKLOADS for model in ("mirror", "private")
    ]
    assert [list(row)[: len(KEYS)] for row in rows] == [KEYS] * len(rows)
    assert {row["device_lost"] for row in rows} == {"SIGBUS"}
    assert killed == [(AGENT, signal.SIGKILL)] * 2
    assert "private: ping-pong" in progress
    assert sorted(FakeMachine.closed) == ["mirror", "private"]


def test_one_vm_for_a_model_and_a_device_like_new_for_each_workload() -> None:
    assert run("kv", "stream", "kv", models="private")[0] == 0
    said = [name for _, name in CompareMachine.log]
    assert said == ["test", "dm-reset", "kv", "dm-reset", "stream", "dm-reset", "dm-device-lost"]
    assert FakeMachine.closed == ["private"]


def test_the_text_goes_only_to_those_that_read_it() -> None:
    run("wordindex", "kv", models="private")
    assert [name for _, name in CompareMachine.log][:2] == ["test", "put"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Done(1, json.dumps({**ROW, "workload": "kv", "checked": False}), ""), "a result is wrong"),
        (Done(139, "", ""), "kv ended with 139 and without a result: it said nothing"),
        (Done(2, json.dumps(ROW), ""), "kv ended with 2"),
        (CommandTimeout("`patterns kv` did not end within 240 s"), "did not end within 240 s"),
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


def test_a_device_that_cannot_be_reset(capsys: pytest.CaptureFixture[str]) -> None:
    CompareMachine.odd = {("private", "dm-reset"): Done(1, "", "busy")}
    code, progress = run("kv")
    assert code == 1
    assert [row["checked"] for row in results(capsys)] == [True, False]
    assert "private: the device could not be reset" in progress


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
    CompareMachine.odd = {("mirror", "stream"): error}
    file = tmp_path / "table.csv"
    code, progress = run("kv", "stream", "bfs", csv=file)
    assert code == ExitCode.OOPS
    checked = {(row["workload"], row["model"]): row["checked"] for row in results(capsys)}
    assert checked == {
        ("kv", "mirror"): True,
        ("kv", "private"): True,
        ("stream", "mirror"): False,
        ("stream", "private"): True,
        ("bfs", "private"): True,
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


def test_a_guest_that_takes_no_text_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("/tmp/corpus.txt: No space left on device")

    monkeypatch.setattr(CompareMachine, "put", full)
    assert run("wordindex")[0] == ExitCode.MACHINE_LOST
    assert results(capsys) == []


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
