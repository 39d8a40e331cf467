"""`devmodel compare`, with machines that are none: what is run, what becomes of failures."""

import csv
import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_machine import AGENT, FakeMachine, counts, install, is_counts, under_counting
from rich.console import Console
from test_results import ROW

import devmodel
from devmodel.abi.counters import Counted
from devmodel.errors import CommandTimeout, ConfigError, ExitCode, GuestOops, LaunchFailed
from devmodel.experiment import compare
from devmodel.experiment.config import DEFAULT, Experiment
from devmodel.machine.config import Policy
from devmodel.machine.shell import Result as Done

KEYS = [
    "model",
    "workload",
    "checked",
    *(field.name for field in Counted.FIELDS),
    "spilled_pages",
    "wall_seconds",
    "pages",
    "system_at_start",
    "hbm_at_start",
    "system_at_end",
    "hbm_at_end",
    "hbm_bytes_in_use",
    "device_lost",
    "policy",
    "run",
    "exit_code",
    "why",
]
SHIPPED = [workload.title for workload in Experiment.load().workloads]


class CompareMachine(FakeMachine):
    """Answers as a guest with a device; `odd` has what is different, by command or workload.

    A list is for one run after the other.
    """

    odd: ClassVar[dict[tuple[str, str], Any]] = {}
    log: ClassVar[list[tuple[str, str]]] = []
    words: ClassVar[list[list[str]]] = []
    expects_loss = False
    counted: Done | None = None

    def put(self, source: Path, target: str) -> None:
        self.log.append((self.model, f"put {source} {target}"))

    def expect_device_lost(self) -> None:
        self.expects_loss = True

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 60.0,
        stdout: Any = None,
        stderr: Any = None,
    ) -> Done:
        assert timeout
        if is_counts(command):
            return self.odd.get((self.model, "counts"), counts())
        words = under_counting(command)
        workload = bool(words)
        if not workload:
            words = command.split() if isinstance(command, str) else list(command)
        name = words[1] if words[0] == "patterns" else words[0].removeprefix("./")
        self.log.append((self.model, name))
        usual: Any = Done(0, "", "")
        if name == "dm-device-lost":
            assert self.expects_loss
            stderr.write(b"pla")
            stderr.write(b"ced\n")
            usual = Done(0, json.dumps({"outcome": "SIGBUS", "hbm_pages": 64}), "")
        elif workload:
            self.words.append(words)
            row = {**ROW, "model": "of its own", "workload": "its own", "tokens": 3}
            usual = Done(0, json.dumps(row) if name in SHIPPED else "42\n", "")
        answer = self.odd.get((self.model, name), usual)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Done)
        if stdout is not None:
            stdout.write(answer.stdout.encode())
            stderr.write(answer.stderr.encode())
        return answer


@pytest.fixture(autouse=True)
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    install(monkeypatch, CompareMachine)
    monkeypatch.setattr(compare.corpus, "of_machines", lambda *_: Path("/corpus.txt"))
    CompareMachine.odd, CompareMachine.log, CompareMachine.words = {}, [], []
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    return found


def run_this(
    experiment: Experiment,
    csv: Path | None = None,
    jobs: int = 1,
    as_json: bool = True,
    report: Path | None = None,
) -> tuple[int, str]:
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    code = compare.run(
        experiment,
        command=["devmodel", "compare"],
        json=as_json,
        csv=csv,
        report=report,
        jobs=jobs,
        console=console,
    )
    return code, shown.getvalue()


def run(
    *names: str, models: str = "mirror,private", csv: Path | None = None, jobs: int = 1
) -> tuple[int, str]:
    experiment = Experiment.load(DEFAULT).chosen(names)
    chosen = Experiment(models=models.split(","), workloads=experiment.workloads)
    return run_this(chosen, csv, jobs)


def results(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["results", "samples", "made"]
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
    assert (machine["kernel"], machine["qemu"], machine["accelerator"]) == ("7.2", "11.0", "tcg")
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
        raise OSError("/tmp/wordindex/corpus.txt: No space left on device")

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


# --- programs of a user's own


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
