"""The VM of a process that runs tests: one at a time, as good as fresh for each test."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from devmodel.errors import CommandTimeout, DevmodelError, GuestError, GuestOops
from devmodel.machine import Machine, MachineConfig
from devmodel.progress import Reporter

RESET_SECONDS = 60.0
MOST_LINES = 40
MOST_OF_A_NAME = 30


class Scope(StrEnum):
    """How long a VM stays: for one test, or for all of a class, a file, a session in a row."""

    FUNCTION = "function"
    CLASS = "class"
    MODULE = "module"
    SESSION = "session"


class Life(NamedTuple):
    """What a VM is for: a VM with another life is another VM."""

    scope: Scope
    whose: str = ""


WHOLE = Life(Scope.SESSION)


class Guest:
    """A VM during one test."""

    def __init__(self, vm: Machine, life: Life) -> None:
        self.vm = vm
        self.life = life
        self.broken = False
        """nothing more is to be had from it"""
        self._console = vm.folder / "console.log"
        self._logs = vm.folder
        self._begin = self._size()
        self._told = False

    def trouble(self) -> str:
        """What is wrong with the VM that was not said before; empty if nothing is."""
        if self.broken:
            return ""
        try:
            self.vm.check()
        except GuestOops as error:
            self.broken = not self.vm.alive
            if not self.broken:
                self.vm.forget()
            return _words(error)
        except DevmodelError as error:
            self.broken = True
            return _words(error)
        except RuntimeError:
            # The test has ended it.
            self.broken = True
        return ""

    def failed(self, error: BaseException) -> str:
        """The test failed with this; what is wrong with the VM beside it."""
        trouble = self.trouble()
        if isinstance(error, GuestError) and not isinstance(error, CommandTimeout):
            # It may run on without ever answering.
            self.broken = True
        return trouble

    def story(self) -> str:
        """Where the logs are, and the console during this test; empty the second time."""
        if self._told:
            return ""
        self._told = True
        with self._console.open("rb") as file:
            file.seek(self._begin)
            lines = file.read().decode(errors="replace").splitlines()
        left_out = ["..."] if len(lines) > MOST_LINES else []
        said = [line.rstrip() for line in lines[-MOST_LINES:]]
        return "\n".join([f"logs: {self._logs}", *left_out, *said])

    def _size(self) -> int:
        return self._console.stat().st_size


class Pool:
    """Asking for another VM ends the one that runs."""

    def __init__(self) -> None:
        self._vm: Machine | None = None
        self._for: tuple[MachineConfig, Life] | None = None
        self._started = 0

    def get(self, config: MachineConfig, life: Life = WHOLE) -> Guest:
        """A VM of this description, for the same `life` as before or a fresh one.

        What its kernel complained of while it booted is the guest's first trouble.
        """
        vm = self._vm
        if vm is not None and self._for == (config, life) and _usable(vm):
            vm.forget()
            return Guest(vm, life)
        self.end()
        # Its logs are kept: those of a VM give way to the next one's of the same name.
        self._started += 1
        name = f"{config.name[:MOST_OF_A_NAME]}-{self._started}"
        vm = Machine(config.renamed(name), reporter=Reporter())
        vm.start()
        self._vm, self._for = vm, (config, life)
        return Guest(vm, life)

    def settle(self, guest: Guest) -> str:
        """After a test: as before it, or gone. What is wrong that was not said before.

        Whatever that brings to light is the doing of the test that ends, not of the next.
        """
        if guest.vm is not self._vm:
            return ""
        trouble = guest.trouble()
        if guest.broken or not _usable(guest.vm) or guest.life.scope is Scope.FUNCTION:
            self.end()
            return trouble
        try:
            if guest.vm.config.devices:
                guest.vm.run(["dm-reset"], timeout=RESET_SECONDS).check()
        except (GuestError, RuntimeError) as error:
            self.end()
            return trouble or f"the devices could not be reset: {error}"
        return trouble or guest.trouble()

    def end(self) -> None:
        """End the VM that runs, if one does."""
        if self._vm is not None:
            self._vm.close()
            self._vm = None


def _usable(vm: Machine) -> bool:
    return vm.alive and not vm.lost_devices


def _words(error: DevmodelError) -> str:
    return f"{error}\n{error.details}".rstrip()
