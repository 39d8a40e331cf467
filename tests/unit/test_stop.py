"""`devmodel stop`: whose process may be ended, and whose not."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devmodel.cli import main as cli
from devmodel.errors import ExitCode
from devmodel.machine.config import MachineConfig
from devmodel.machine.rundir import RunDir, VmInfo

SECONDS = 20.0
# A process that holds a VM as supervisors do, and ends it as a keeper does.
HOLDER = """
import os, sys
from devmodel.machine.rundir import RunDir, VmInfo
name, keeper, config = sys.argv[1], sys.argv[2] == "keeper", sys.argv[3]
folder = RunDir.claim(name)
folder.write(VmInfo(folder.name, os.getpid(), "running", config=config, keeper=keeper))
print(folder.name, flush=True)
sys.stdin.read()
"""

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    """Start processes that hold VMs: `hold(name, who, script)`."""
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))
    started = []

    def start(name: str, who: str, script: str) -> subprocess.Popen[str]:
        path = tmp_path / script
        path.parent.mkdir(exist_ok=True)
        path.write_text(HOLDER)
        process = subprocess.Popen(
            [sys.executable, str(path), name, who, MachineConfig().model_dump_json()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{name}\n"
        return process

    yield start
    for process in started:
        with process:
            pass


def goes_on(process: subprocess.Popen[str]) -> bool:
    """Whether nobody sent it a signal: it ends only once its input does, and well."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if select.select([pidfd], [], [], 0)[0]:
            return False
        assert process.stdin is not None
        process.stdin.close()
        return process.wait(SECONDS) == 0
    finally:
        os.close(pidfd)


@pytest.mark.parametrize(
    ("who", "script"),
    [
        ("program", "mine.py"),
        # One that says of itself what it is not.
        ("keeper", "mine.py"),
        ("program", "devmodel/keeper.py"),
    ],
)
def test_a_users_own_process_is_not_ended(
    hold: Hold, capsys: pytest.CaptureFixture[str], who: str, script: str
) -> None:
    mine = hold("a", who, script)
    assert cli.main(["stop", "a"]) == ExitCode.CONFIG
    said = capsys.readouterr().err
    assert said.startswith(f"devmodel: a is held by process {mine.pid}: {sys.executable} ")
    assert said.endswith("; end it there: stop ends no such process\n")
    assert said.count("\n") == 1
    assert goes_on(mine)


def test_all_leaves_those_of_others_alone(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    mine, keeper = hold("a", "program", "mine.py"), hold("b", "keeper", "devmodel/keeper.py")
    assert cli.main(["stop", "--all"]) == 0
    said = capsys.readouterr().err
    assert f"a is held by process {mine.pid}: " in said
    assert "it is left alone" in said
    assert keeper.wait(SECONDS) < 0
    assert goes_on(mine)


def test_ps_lists_what_another_version_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path))
    folder = RunDir.claim("a")
    old = MachineConfig().model_dump_json().replace('"devices":[]', '"devices":[{"page_shift":12}]')
    folder.write(VmInfo("a", 1, "ended", config=old))
    folder.close()
    assert cli.main(["ps", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["a", "ended", "-"]


def test_ps_tells_whose_a_vm_is(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    mine = hold("a", "program", "mine.py")
    hold("b", "keeper", "devmodel/keeper.py")
    assert cli.main(["ps", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["keeper"]) for row in rows] == [("a", False), ("b", True)]
    assert rows[0]["pid"] == mine.pid
