"""`devmodel probe`, with a guest that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from devmodel.cli import main as cli
from devmodel.errors import ExitCode
from devmodel.experiment import probe
from devmodel.machine.shell import Result

KNOWN = ["anonymous", "ksm", "bind"]


def line(name: str = "anonymous", **changed: object) -> str:
    finding: dict[str, object] = {
        "name": name,
        "asked": "nothing",
        "arrived": 7,
        "allowed": True,
        "ok": True,
        "of": 9,
        "seconds": 0.25,
        "about": "anonymous memory",
        "why": "",
    }
    return json.dumps(finding | changed) + "\n"


class FakeMachine:
    """Runs dm-probe by printing what the test wants."""

    output: ClassVar[str] = ""
    exit_code: ClassVar[int] = 0
    said: ClassVar[str] = "dm-probe: no such luck\n"
    command: ClassVar[list[str]] = []
    kernel: ClassVar[object] = None
    folder = Path("/vms/numa")

    def __init__(self, config: Any, **_: object) -> None:
        type(self).kernel = config.kernel

    def __enter__(self) -> "FakeMachine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, command: list[str], *, timeout: float, stdout: Any) -> Result:
        assert timeout
        type(self).command = command
        text = self.output.encode()
        # Cut where no line ends.
        stdout.write(text[:20])
        stdout.write(text[20:])
        return Result(self.exit_code, "", self.said)


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> type[FakeMachine]:
    monkeypatch.setattr(probe, "Machine", FakeMachine)
    monkeypatch.setattr(probe, "names", lambda _: KNOWN)
    monkeypatch.setattr(FakeMachine, "output", line())
    monkeypatch.setattr(FakeMachine, "exit_code", 0)
    monkeypatch.setattr(FakeMachine, "said", FakeMachine.said)
    return FakeMachine


Capture = pytest.CaptureFixture[str]


def test_json_is_what_is_promised_and_no_more(guest: type[FakeMachine], capsys: Capture) -> None:
    guest.output = line() + line("bind", asked="node", arrived=9)
    assert cli.main(["probe", "--model", "numa", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "probes": [
            {"name": "anonymous", "asked": "nothing", "arrived": 7, "allowed": True, "ok": True},
            {"name": "bind", "asked": "node", "arrived": 9, "allowed": True, "ok": True},
        ]
    }
    assert guest.command == ["dm-probe"]


def test_table_shows_every_probe(guest: type[FakeMachine], capsys: Capture) -> None:
    guest.output = line() + line("ksm", ok=False, arrived=0, why="nothing was merged")
    guest.said = "# 7 dm-probe is still there. State: D (disk sleep), in percpu_rwsem_wait\n"
    guest.exit_code = 1
    assert cli.main(["probe", "--model", "cdm"]) == 1
    shown = capsys.readouterr()
    assert "model cdm" in shown.out
    assert "anonymous memory" in shown.out
    (row,) = [row for row in shown.out.splitlines() if row.startswith("ksm")]
    assert "NO" in row and "nothing was merged" in row
    assert "ksm: 0 of 9 pages on the node, NOT ok nothing was merged" in shown.err
    assert "State: D (disk sleep), in percpu_rwsem_wait" in shown.err


def test_named_probes_alone(guest: type[FakeMachine]) -> None:
    assert cli.main(["probe", "--model", "numa", "anonymous"]) == 0
    assert guest.command == ["dm-probe", "anonymous"]


def test_unknown_probe_is_one_line(guest: type[FakeMachine], capsys: Capture) -> None:
    guest.command = []
    assert cli.main(["probe", "--model", "numa", "ksm", "kms"]) == ExitCode.CONFIG
    assert guest.command == []
    assert capsys.readouterr().err == (
        "devmodel: there is no probe 'kms'; there are anonymous, ksm, bind\n"
    )


def test_model_must_be_a_node(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["probe", "--model", "private"])
    assert ended.value.code == 2
    assert "invalid choice: 'private'" in capsys.readouterr().err


def test_kernel_of_ones_own(guest: type[FakeMachine]) -> None:
    assert cli.main(["probe", "--model", "numa", "--kernel", "7.2"]) == 0
    assert isinstance(guest.kernel, object)
    assert getattr(guest.kernel, "series", None) == "7.2"


@pytest.mark.parametrize(
    ("output", "exit_code", "wanted"),
    [("", 1, []), (line(), 137, []), (line(), 0, ["anonymous", "ksm"]), ("nonsense\n", 0, [])],
)
def test_too_little_told(
    guest: type[FakeMachine], output: str, exit_code: int, wanted: list[str], capsys: Capture
) -> None:
    guest.output, guest.exit_code = output, exit_code
    assert cli.main(["probe", "--model", "numa", *wanted]) == ExitCode.MACHINE_LOST
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith(f"devmodel: dm-probe ended with {exit_code} after")
    assert "no such luck; see /vms/numa" in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-4],
        lambda text: text.replace('"arrived": 7', '"arrived": "7"'),
        lambda text: text.replace('"ok": true', '"ok": 1'),
        lambda text: text.replace('"of": 9, ', ""),
        lambda _: "[1]",
    ],
)
def test_other_lines_are_no_findings(change: Callable[[str], str]) -> None:
    assert probe.Finding.parse(line()).arrived == 7
    with pytest.raises(ValueError):
        probe.Finding.parse(change(line()))


def test_names_come_from_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dm-probe"
    program.write_text("#!/bin/sh\n[ $1 = --list ] && echo one && echo two\n")
    program.chmod(0o755)
    monkeypatch.setattr(probe.modules, "programs", lambda _: [tmp_path / "dm-info", program])
    assert probe.names(SimpleNamespace()) == ["one", "two"]  # type: ignore[arg-type]
