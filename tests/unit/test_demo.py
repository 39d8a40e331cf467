"""The demo's own logic, with machines that are none."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fake_machine import FakeMachine, counts, install, under_counting
from rich.console import Console
from test_results import ROW

from devmodel.errors import ExitCode, GuestPanic, LaunchFailed
from devmodel.experiment import demo
from devmodel.machine.shell import Result as Done

STDERR = b"""\
wordindex: 9 words in all, 5 different, 8 pairs, 12 KiB
wordindex: build: 0.10 s
wordindex: on touch: 1.00 s
"""


class DemoMachine(FakeMachine):
    """Runs `wordindex`; what it prints is cut where no line ends."""

    def put(self, source: Path, target: str) -> None:
        assert (source, target) == (Path("/corpus.txt"), "/tmp/wordindex/corpus.txt")

    def run(
        self, command: str, *, timeout: float = 60.0, stdout: Any = None, stderr: Any = None
    ) -> Done:
        words = under_counting(command)
        if not words:
            return counts()
        assert words[0] == "wordindex" and timeout
        stderr.write(STDERR[:50])
        stderr.write(STDERR[50:])
        answer = self.answer()
        stdout.write(answer.stdout.encode())
        return answer


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, DemoMachine)
    monkeypatch.setattr(demo.corpus, "of_machines", lambda *_: Path("/corpus.txt"))
    FakeMachine.outputs = {
        model: Done(0, json.dumps({**ROW, "model": model}), "") for model in ("mirror", "private")
    }


def run(capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[int, str, str]:
    shown = io.StringIO()
    code = demo.run(["mirror", "private"], json=as_json, console=Console(file=shown, width=100))
    return code, capsys.readouterr().out, shown.getvalue()


def test_json_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, progress = run(capsys, as_json=True)
    assert code == 0
    results = json.loads(out)["results"]
    assert [list(row) for row in results] == [list(demo.FIELDS)] * 2
    assert [row["model"] for row in results] == ["mirror", "private"]
    assert results[1] == {name: ROW[name] for name in demo.FIELDS}
    assert "private: on touch done" in progress
    assert sorted(FakeMachine.closed) == ["mirror", "private"]


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    other = {**ROW, "device_faults": 7, "pages_to_system": 0, "tlb_misses": 0, "wall_seconds": 0.25}
    FakeMachine.outputs["mirror"] = Done(0, json.dumps({**other, "model": "mirror"}), "")
    code, out, _ = run(capsys)
    assert code == 0
    assert [line.split() for line in out.splitlines() if "yes" in line] == [
        ["mirror", "7", "12345", "0", "1024.0", "1.5", "100.0%", "256.0", "yes", "0.25"],
        ["private", "1234567", "12345", "12344", "1024.0", "1.5", "99.9%", "256.0", "yes", "12.50"],
    ]
    heading = [
        "model",
        "faults",
        *["pages", "pages", "MiB", "MiB"],
        "hits",
        "MiB",
        "checked",
        "s",
    ]
    assert heading in [line.split() for line in out.splitlines()]


def test_an_unchecked_result_is_shown_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    FakeMachine.outputs["mirror"] = Done(1, json.dumps({**ROW, "checked": False}), "")
    code, out, progress = run(capsys, as_json=True)
    assert code == 1
    assert json.loads(out)["results"][0]["checked"] is False
    assert "NOT checked" in progress


@pytest.mark.parametrize(
    ("output", "why", "wanted"),
    [
        (
            Done(139, "", ""),
            "ended with 139 (SIGSEGV) and without a result: wordindex: on touch: 1.00 s",
            ExitCode.MACHINE_LOST,
        ),
        (Done(3, json.dumps(ROW), ""), "ended with 3", ExitCode.MACHINE_LOST),
        (LaunchFailed("no QEMU"), "no QEMU", ExitCode.LAUNCH),
        (GuestPanic("it panicked"), "it panicked", ExitCode.PANIC),
    ],
)
def test_a_job_without_a_result(
    capsys: pytest.CaptureFixture[str], output: object, why: str, wanted: int
) -> None:
    FakeMachine.outputs["private"] = output
    code, out, progress = run(capsys, as_json=True)
    assert code == wanted
    assert [row["model"] for row in json.loads(out)["results"]] == ["mirror"]
    (line,) = (line for line in progress.splitlines() if line.startswith("private: "))
    assert why in line
