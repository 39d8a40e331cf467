"""devmodel's processes: the current directory and programs' folders shadow nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_driver import agent_with

from devmodel import interpreter
from devmodel.abi.rings import Status
from devmodel.build.background import Background
from devmodel.build.config import KernelConfig
from devmodel.cli import detached
from devmodel.device.config import DeviceConfig
from devmodel.errors import BuildFailed, DevmodelError
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options

SHADOW = 'raise SystemExit("a stranger\'s " + __name__)\n'

PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import helper
import wave
from devmodel.device.programs import Memory, program

@program("dice")
async def dice(memory: Memory) -> int:
    import random
    import this
    return random.randint(helper.NUMBER, helper.NUMBER)
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a file for each module that devmodel may want, to end it."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in (*sys.stdlib_module_names, "numpy", "devmodel", "yaml", "pydantic"):
        (folder / f"{name}.py").write_text(SHADOW)
    monkeypatch.chdir(folder)
    return folder


def test_an_agent_and_its_programs(strangers: Path, tmp_path: Path) -> None:
    (strangers / "helper.py").write_text("NUMBER = 4\n")
    (strangers / "copy.py").write_text(PROGRAM)
    with agent_with(strangers / "copy.py", tmp_path / "agent.log") as (_, driver):
        driver.process()
        completion = driver.run(1, "dice")
        assert (completion.status, completion.result[0]) == (Status.OK, 4)


@pytest.mark.usefixtures("strangers")
def test_a_keeper() -> None:
    device = DeviceConfig(programs=(Path("/nowhere/none.py"),))
    config = MachineConfig(devices=(device,))
    with pytest.raises(DevmodelError, match=r"no file /nowhere/none\.py"):
        detached.start(config, Options())


@pytest.mark.usefixtures("strangers")
def test_a_build_in_the_background(tmp_path: Path) -> None:
    said: list[str] = []
    tree = tmp_path / "none"
    build = Background(KernelConfig(tree=tree), said.append)
    with pytest.raises(BuildFailed, match=str(tree)):
        build.wait()


def test_the_package_is_the_one_that_it_came_with(tmp_path: Path) -> None:
    """Not one that is installed, nor one that has to be on the path."""
    package = tmp_path / "devmodel"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "hello.py").write_text("import sys\nprint(__name__, __file__, sys.argv)\n")
    shutil.copy(interpreter.__file__, package)
    argv = interpreter.command("devmodel.hello")
    argv[argv.index(interpreter.__file__)] = str(package / "interpreter.py")
    done = subprocess.run(
        [*argv, "one", "two"],
        cwd="/",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    hello = package / "hello.py"
    assert done.stderr == ""
    assert done.stdout == f"__main__ {hello} {[str(hello), 'one', 'two']}\n"
