"""One VM for each model: how many at a time, and what a failure does to the others."""

import io
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_machine import FakeMachine, install, machines
from rich.console import Console

from devmodel.errors import ExitCode, GuestPanic, LaunchFailed
from devmodel.experiment import fleet

SECONDS = 20.0


class RunningMachine(FakeMachine):
    """One whose QEMU can be asked for."""

    @property
    def qemu_pid(self) -> int:
        return {"mirror": 1001, "private": 1002}[self.model]


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, RunningMachine)


def run(
    work: Callable[[Any, fleet.Part[str]], str], *, width: int
) -> tuple[fleet.Outcome[str], str]:
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    found = fleet.run(machines("mirror", "private"), work, console, stages=1, width=width)
    return found, shown.getvalue()


def test_what_comes_of_each_model_in_order() -> None:
    def work(vm: FakeMachine, part: fleet.Part[str]) -> str:
        part.tell("working")
        return vm.model.upper()

    found, progress = run(work, width=1)
    assert found.failed == {}
    assert list(found.results.items()) == [("mirror", "MIRROR"), ("private", "PRIVATE")]
    stages = [line.partition("  ")[2].strip() for line in progress.splitlines()]
    one = ["mirror: booting", "mirror: working", "mirror: done"]
    assert [stage.split("s  ")[-1] for stage in stages] == [
        *one,
        *(stage.replace("mirror", "private") for stage in one),
    ]


def test_as_many_at_a_time_as_wanted() -> None:
    both = threading.Barrier(2)

    def work(vm: FakeMachine, part: fleet.Part[str]) -> str:
        del part
        both.wait(SECONDS)
        return vm.model

    assert len(run(work, width=2)[0].results) == 2


@pytest.mark.parametrize("width", [1, 2])
def test_a_failure_costs_its_own_model_only(width: int) -> None:
    failed = threading.Event()

    def work(vm: FakeMachine, part: fleet.Part[str]) -> str:
        del part
        if vm.model == "mirror":
            failed.set()
            raise GuestPanic("mirror\n panics", hint="see its log")
        assert failed.wait(SECONDS)
        return "done"

    found, progress = run(work, width=width)
    assert found.results == {"private": "done"}
    assert list(found.failed) == ["mirror"]
    assert found.exit_code == ExitCode.PANIC
    assert "private: done" in progress
    shown = io.StringIO()
    found.tell(Console(file=shown, width=20))
    assert shown.getvalue() == "mirror: mirror panics; see its log\n"


def test_a_vm_that_complains_at_its_end_costs_its_own_model_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(vm: FakeMachine, *_: object) -> None:
        if vm.model == "private":
            raise GuestPanic("it panicked while nobody looked")

    monkeypatch.setattr(FakeMachine, "__exit__", leave)
    found, _ = run(lambda vm, _: str(vm.model), width=1)
    assert (list(found.results), list(found.failed)) == (["mirror"], ["private"])


def test_a_bug_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    gone, busy = threading.Event(), threading.Event()

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        if pid == 1002:
            gone.set()

    monkeypatch.setattr(os, "kill", kill)

    def work(vm: FakeMachine, part: fleet.Part[str]) -> str:
        del part
        if vm.model == "mirror":
            assert busy.wait(SECONDS)
            raise ZeroDivisionError("mirror fails")
        busy.set()
        assert gone.wait(SECONDS)
        raise LaunchFailed("its QEMU was killed")

    with pytest.raises(ZeroDivisionError, match="mirror fails"):
        run(work, width=2)
    assert (1002, signal.SIGTERM) in killed
    assert sorted(FakeMachine.closed) == ["mirror", "private"]


def test_what_has_not_begun_after_a_bug_does_not_begin() -> None:
    worked = []

    def work(vm: FakeMachine, part: fleet.Part[str]) -> str:
        del part
        worked.append(vm.model)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work, width=1)
    assert worked == ["mirror"]
    assert FakeMachine.closed == ["mirror"]
