"""The keeper process, with a machine that is none: what it says to whom, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devmodel.errors import ExitCode
from devmodel.machine.config import MachineConfig

SECONDS = 20.0
# Its machine does what argv says, and writes down that it was left.
KEEPER = """
import sys
from pathlib import Path
from devmodel.cli import keeper
from devmodel.errors import LaunchFailed

folder, how = Path(sys.argv[1]), sys.argv[2]

class Machine:
    name, alive = "a", True

    def __init__(self, config, **_):
        self.folder = folder

    def __enter__(self):
        sys.stdin.read()
        if how == "fails":
            raise LaunchFailed("no QEMU")
        return self

    def __exit__(self, kind, *_):
        (folder / "left").touch()

    def wait_change(self, seconds):
        raise keeper._Stopped

keeper.Machine = Machine
sys.exit(keeper.main())
"""


def keeper(tmp_path: Path, how: str, *, heard: bool) -> subprocess.CompletedProcess[str]:
    """Run one; not `heard`, the reader of its stdout is gone before it speaks."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path), how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    if not heard:
        os.close(reader)
    request = {"config": json.loads(MachineConfig().model_dump_json()), "append": [], "qemu": []}
    _, complaints = process.communicate(json.dumps({**request, "trace": None}), SECONDS)
    said = ""
    if heard:
        with os.fdopen(reader) as pipe:
            said = pipe.read()
    return subprocess.CompletedProcess([], process.returncode, said, complaints)


def test_it_says_the_name_and_ends_when_it_is_stopped(tmp_path: Path) -> None:
    done = keeper(tmp_path, "works", heard=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"name": "a"}
    assert (tmp_path / "left").exists()


def test_it_says_what_kept_it(tmp_path: Path) -> None:
    done = keeper(tmp_path, "fails", heard=True)
    assert (done.returncode, done.stderr) == (ExitCode.LAUNCH, "")
    assert json.loads(done.stdout) == {"error": "no QEMU", "details": "", "exit_code": 5}


@pytest.mark.parametrize("how", ["works", "fails"])
def test_where_nobody_listens_it_ends_without_a_word(tmp_path: Path, how: str) -> None:
    done = keeper(tmp_path, how, heard=False)
    assert (done.returncode, done.stderr) == (ExitCode.LAUNCH, "")
    assert (tmp_path / "left").exists() == (how == "works")
