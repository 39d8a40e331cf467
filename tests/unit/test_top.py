"""`devmodel top`: what it shows, and how it ends."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_view import PRIVATE, Region

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.registers import (
    COUNTER_PAGE,
    DEVICE_PAGE,
    DRIVER_PAGE,
    DeviceRegs,
    DeviceState,
    DriverRegs,
)
from devmodel.cli.top import HEADINGS
from devmodel.errors import ExitCode
from devmodel.machine.config import MachineConfig
from devmodel.machine.rundir import RunDir

SECONDS = 60.0
QUICK = ["--interval", "0.1"]


class FakeVm:
    """A VM that this process holds: a folder, and a device's memory."""

    def __init__(self, name: str) -> None:
        self.region = Region()
        self.folder = RunDir.claim(name)
        config = MachineConfig(name=name, devices=(PRIVATE,)).model_dump_json()
        self.info = replace(
            self.region.info(), name=self.folder.name, config=config, started=time.time()
        )
        self.write()

    def write(self, **changes: Any) -> None:
        """vm.json."""
        self.info = replace(self.info, **changes)
        self.folder.write(self.info)

    def end(self, ending: str = "", code: int = 0) -> None:
        """As the VM's end does."""
        self.write(state="ended", ending=ending, exit_code=code)
        self.folder.close()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def vm() -> FakeVm:
    return FakeVm("mine")


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`devmodel top`, in a process of its own."""
    running = []

    def start(*words: str, stdout: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "devmodel.cli.main", "top", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            # What is not flushed is not there.
            env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
            # A shell that starts the tests in the background has them ignore SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[str]]


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, what it printed, what it said."""
    out, said = process.communicate(timeout=SECONDS)
    return process.returncode, out, said


def test_json_has_an_object_a_line(vm: FakeVm, started: Start) -> None:
    vm.region.put(DRIVER_PAGE, DriverRegs(hbm_in_use=4096))
    vm.region.context(0, ctx=7)
    process = started("mine", "--json", "--count", "3", *QUICK)
    assert process.stdout is not None
    # Flushed: the first is here while it goes on.
    first = json.loads(process.stdout.readline())
    vm.region.put(COUNTER_PAGE, DeviceCounters(fault_records=1000))
    code, out, said = end(process)
    lines = [first, *map(json.loads, out.splitlines())]
    assert (code, said) == (0, "")
    assert [line["vm"] for line in lines] == ["mine"] * 3
    assert lines[0] == {
        "vm": "mine",
        "device": 0,
        "model": "private",
        "state": "ready",
        "generation": 1,
        "seconds": lines[0]["seconds"],
        "hbm_bytes": 256 << 20,
        "hbm_bytes_in_use": 4096,
        "faults_per_second": 0.0,
        "bytes_to_device_per_second": 0.0,
        "bytes_to_system_per_second": 0.0,
        "tlb_hits_per_second": 0.0,
        "tlb_hit_rate": None,
        "invalidates_per_second": 0.0,
        "rings": {"control": 0, "copy": 0, "compute": 0, "completion": 0, "fault": 0},
        "contexts": lines[0]["contexts"],
    }
    assert [context["ctx"] for context in lines[0]["contexts"]] == [7]
    total = sum(line["faults_per_second"] * line["seconds"] for line in lines)
    assert total == pytest.approx(1000)
    assert all(line["seconds"] >= 0.05 for line in lines)


def test_lines_where_there_is_no_terminal(vm: FakeVm, started: Start) -> None:
    vm.region.put(DRIVER_PAGE, DriverRegs(hbm_in_use=3 << 20))
    vm.region.context(0, ctx=7)
    code, out, said = end(started("--count", "2", *QUICK))
    assert (code, said) == (0, "")
    heading, *lines = [line.split() for line in out.splitlines()]
    assert heading == list(HEADINGS)
    rates = ["0", "0", "0", "0", "-", "0"]
    one = ["mine", "0", "private", "3.0M/256M", *rates, *["0"] * 5]
    assert lines == [one, ["ctx", "7", *rates]] * 2
    assert "\x1b" not in out


def test_a_table_on_a_terminal(vm: FakeVm, started: Start) -> None:
    del vm
    ours, theirs = pty.openpty()
    process = started("--count", "2", *QUICK, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:
        pass  # how a terminal ends
    assert process.wait(SECONDS) == 0
    assert b"mine" in shown
    assert shown.count(b"FAULT/s") >= 2
    # With nothing cut off.
    assert "…" not in shown.decode()
    os.close(ours)


def test_all_guests_come_and_go(vm: FakeVm, started: Start) -> None:
    other = FakeVm("other")
    process = started("--json", *QUICK)
    assert process.stdout is not None
    seen = {json.loads(process.stdout.readline())["vm"] for _ in range(2)}
    assert seen == {"mine", "other"}
    other.end()
    third = FakeVm("third")
    assert any('"third"' in line for line in process.stdout)
    third.end()
    vm.end()
    code, _, said = end(process)
    assert code == 0
    assert sorted(said.splitlines()) == ["mine ended", "other ended", "third ended"]


def test_it_ends_with_its_guest(vm: FakeVm, started: Start) -> None:
    FakeVm("other")
    process = started("mine", "--json", *QUICK)
    assert process.stdout is not None
    process.stdout.readline()
    vm.end()
    code, _, said = end(process)
    assert (code, said) == (0, "mine ended\n")


def test_a_bad_end_is_named_without_what_a_terminal_obeys(vm: FakeVm, started: Start) -> None:
    process = started("mine", "--json", *QUICK)
    assert process.stdout is not None
    process.stdout.readline()
    vm.end("the guest died: \x1b[2J\x1b]0;owned\x07 panic", int(ExitCode.PANIC))
    code, _, said = end(process)
    assert code == ExitCode.PANIC
    assert said == "mine ended: the guest died: ?[2J?]0;owned? panic\n"


@pytest.mark.parametrize("state", [DeviceState.LOST, DeviceState.ABSENT, 77])
def test_a_device_that_is_not_well_is_named(vm: FakeVm, started: Start, state: int) -> None:
    vm.region.put(DEVICE_PAGE, DeviceRegs(state=state, generation=1))
    code, out, said = end(started("--json", "--count", "1", *QUICK))
    assert code == ExitCode.DEVICE_LOST
    word = json.loads(out)["state"]
    assert word == {DeviceState.LOST: "lost", DeviceState.ABSENT: "absent"}.get(state, "unknown")
    assert said == f"mine: device 0 is {word}\n"


def test_ctrl_c(vm: FakeVm, started: Start) -> None:
    del vm
    process = started("--json", *QUICK)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, _, said = end(process)
    assert (code, said) == (128 + signal.SIGINT, "")


def test_a_reader_that_has_seen_enough(vm: FakeVm, started: Start) -> None:
    del vm
    process = started("--json", *QUICK)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(SECONDS) == 0
    assert process.stderr.read() == ""


def test_no_guest(started: Start) -> None:
    code, _, said = end(started())
    assert code == ExitCode.CONFIG
    assert said == "devmodel: no VM is running; devmodel start starts one\n"


def test_another_name(vm: FakeVm, started: Start) -> None:
    del vm
    code, _, said = end(started("other"))
    assert (code, said) == (2, "devmodel: no running VM is called other; running: mine\n")


def test_a_guest_of_another_devmodel(vm: FakeVm, started: Start) -> None:
    vm.write(regions=())
    code, _, said = end(started("mine", *QUICK))
    assert code == ExitCode.CONFIG
    assert said == (
        "devmodel: mine was started by another devmodel; start it again with this one\n"
    )
    # Among others it is a line, and not all is well.
    other = FakeVm("other")
    code, out, said = end(started("--json", "--count", "1", *QUICK))
    assert (code, json.loads(out)["vm"]) == (ExitCode.CONFIG, other.info.name)
    assert "mine was started by another devmodel" in said


def test_one_that_boots_is_waited_for(vm: FakeVm, started: Start) -> None:
    vm.write(state="starting", regions=())
    process = started("mine", "--json", "--count", "1", *QUICK)
    vm.write(state="running", regions=(vm.region.fd,))
    code, out, _ = end(process)
    assert code == 0
    assert json.loads(out)["vm"] == "mine"


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "nan"], ["--count", "0"]])
def test_what_cannot_be(words: list[str], started: Start) -> None:
    code, _, said = end(started(*words))
    assert code == 2
    assert "is no" in said
