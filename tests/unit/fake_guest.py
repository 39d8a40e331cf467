"""A guest with a device that is none, for `devmodel compare`: it runs workloads, and says so."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_machine import FakeMachine, counts, install, is_counts, under_counting
from rich.console import Console
from test_results import ROW

from devmodel.abi.counters import Counted
from devmodel.experiment import compare
from devmodel.experiment.config import Experiment
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
    "kernel",
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
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Done)
        if stdout is not None:
            stdout.write(answer.stdout.encode())
            stderr.write(answer.stderr.encode())
        return answer


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


def results(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    data = json.loads(capsys.readouterr().out)
    assert list(data) == ["results", "samples", "made"]
    found: list[dict[str, Any]] = data["results"]
    return found


def install_guest(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Such guests instead of VMs; the list gets who is killed, and by which signal."""
    install(monkeypatch, CompareMachine)
    monkeypatch.setattr(compare.corpus, "of_machines", lambda *_: Path("/corpus.txt"))
    CompareMachine.odd, CompareMachine.log, CompareMachine.words = {}, [], []
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    return found
