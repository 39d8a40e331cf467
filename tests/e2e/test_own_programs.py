"""Programs of users, as the examples are, in guests: C, C++ and Python."""

import re
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.build import compiler, library, tree
from devmodel.build.lock import Request
from devmodel.machine import Machine
from devmodel.machine.config import MachineConfig
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
EXAMPLES = paths.GUEST / "examples"
PACKAGES = ("python3.13-minimal",)
# The default guest has no Python: one of Debian's, run from a shared folder by its own loader.
PYTHON = Request("python", PACKAGES, tree.SUITES, lambda archive: archive.closure(PACKAGES))
MODELS = ("mirror", "private", "coherent", "numa")


def said(line: str, model: str) -> None:
    """Whether an example says what it should on such a machine."""
    match = re.fullmatch(rf"{model}: 100000 numbers, (\d+) device faults\n", line)
    assert match, line
    assert int(match[1]) > 0


def page(language: str) -> str:
    """What docs/programs.md shows in a language."""
    text = (Path(__file__).resolve().parents[2] / "docs/programs.md").read_text()
    return text.partition(f"```{language}\n")[2].partition("```")[0]


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_what_the_page_shows_in_c(vm: Machine, tmp_path: Path) -> None:
    source, program = tmp_path / "first.c", tmp_path / "first"
    source.write_text(page("c"))
    assert compiler.run([str(source), "-o", str(program)], QUIET) == 0
    vm.put(program, "/tmp/first")
    done = vm.run("chmod +x /tmp/first && /tmp/first").check()
    assert done.stdout == "1000 words, the last is 42\n"


@pytest.mark.parametrize("config", MODELS, indirect=True)
@pytest.mark.parametrize("source", ["saxpy.c", "saxpy.cc"])
def test_an_example_in_c(source: str, vm: Machine, config: str, tmp_path: Path) -> None:
    program = tmp_path / "saxpy"
    assert compiler.run([str(EXAMPLES / source), "-o", str(program)], QUIET) == 0
    vm.put(program, "/tmp/saxpy")
    done = vm.run("chmod +x /tmp/saxpy && /tmp/saxpy").check()
    said(done.stdout, config)


def python_machine() -> MachineConfig:
    """With Python, the module and the examples, each in a folder of its own."""
    found, _ = tree.unpacked(PYTHON, QUIET)
    shares = [
        {"host": str(found / "usr"), "guest": "/mnt/usr"},
        {"host": str(library.obtain(QUIET) / "lib/python"), "guest": "/mnt/module"},
        {"host": str(EXAMPLES), "guest": "/mnt/examples"},
    ]
    data = {"name": "python", "devices": [{"model": "private"}], "shares": shares, "restarts": 0}
    return MachineConfig.parse(data, Path("/test.yaml"))


# Moves pages, looks where they are, and makes mistakes.
SCRIPT = """
from array import array
from libdevmodel import *

device = Device()
memory = Memory(4 << 12)
memory.view[:] = b"x" * memory.length
outcomes = array("I", (9,)) * 4
moved = device.migrate(memory, memory.length, Target.DEVICE, outcomes)
print(moved.moved, [PageOutcome(o).name for o in outcomes])
cpu, _ = device.snapshot(memory, memory.length)
print([place(state).name for state in cpu])
print(memory.view[4096])
cpu, _ = device.snapshot(memory, memory.length)
print([place(state).name for state in cpu])
device.advise(memory, memory.length, Policy.IN_PLACE)
device.run("fill", memory, memory.length // 8, -1)
print(set(memory.view), device.stats().cpu_faults > 0)
for program, *args in (("none",), ("sum", 1), ("sum", 0, 1)):
    try:
        device.run(program, *args)
    except ProgramFailed as error:
        print(error)
try:
    device.migrate(memory.address + 1, 4096, Target.DEVICE)
except OSError as error:
    print(error.strerror)
try:
    Device()
except OSError as error:
    print(error.strerror)
"""
SAYS = """\
4 ['MOVED', 'MOVED', 'MOVED', 'MOVED']
['HBM', 'HBM', 'HBM', 'HBM']
120
['HBM', 'SYSTEM', 'HBM', 'HBM']
{255} True
none: ended with NO_PROGRAM
sum: ended with BAD_ARGUMENT
sum: ended with FAULT at 0x0 (read)
Invalid argument
Device or resource busy
"""


@pytest.mark.usefixtures("no_vm")
def test_python() -> None:
    with Machine(python_machine()) as vm:
        libraries = "/mnt/usr/lib/x86_64-linux-gnu"
        start = ["env", "PYTHONPATH=/mnt/module", "PYTHONDONTWRITEBYTECODE=1"]
        start += ["/mnt/usr/lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
        start += ["/mnt/usr/bin/python3.13"]
        said(vm.run([*start, "/mnt/examples/saxpy.py"]).check().stdout, "private")
        assert vm.run([*start, "-c", SCRIPT]).check().stdout == SAYS
        assert vm.run([*start, "-c", page("python")]).check().stdout == "256 pages moved\n"
        vm.check()
