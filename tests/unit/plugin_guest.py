"""A guest that is none, for tests of the pytest plugin: it does what a command says."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from devmodel import paths
from devmodel.errors import GuestHang, GuestOops, GuestPanic
from devmodel.machine.config import MachineConfig
from devmodel.machine.shell import Result


class FakeGuest:
    """Stands in for `Machine`. `warns_at_boot` is what the next one complains of as it boots."""

    warns_at_boot: ClassVar[str] = ""

    def __init__(self, config: MachineConfig, **_: object) -> None:
        self.config = config
        self.lost_devices: tuple[int, ...] = ()
        self.files: dict[str, bytes] = {}
        self.ran: list[list[str]] = []
        self.resets = 0
        self._alive = False
        self._splats: list[str] = []
        self._expected: list[str] = []
        self._faults = 0

    def start(self) -> None:
        self.folder = paths.vms() / self.config.name
        self.folder.mkdir(parents=True)
        self._alive = True
        self._say(f"booted by {os.getpid()}")
        if FakeGuest.warns_at_boot:
            self._warn(FakeGuest.warns_at_boot)
            FakeGuest.warns_at_boot = ""

    def close(self) -> None:
        self._alive = False

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def devices(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(config=device) for device in self.config.devices]

    def expect(self, text: str) -> None:
        self._expected.append(text)

    def forget(self) -> None:
        self._splats.clear()
        self._expected.clear()

    def check(self) -> None:
        if not self._alive:
            raise GuestPanic("the guest's kernel panicked: made up")
        found = [line for line in self._splats if not any(e in line for e in self._expected)]
        if found:
            raise GuestOops(f"the guest's kernel complained: {found[0]}", details="\n".join(found))

    def put(self, source: Path, target: str) -> None:
        self.files[target] = source.read_bytes()

    def run(self, command: Sequence[str], *, timeout: float = 0) -> Result:
        del timeout
        self.ran.append(list(command))
        match command:
            case ["dm-reset"]:
                self.resets += 1
            case ["dm-stats", "--json", _]:
                return Result(0, json.dumps({"device_faults": self._faults, "mirrors": 1}), "")
            case ["fault"]:
                self._faults += 1
            case ["warn", text]:
                self._warn(text)
            case ["say", text]:
                self._say(text)
            case ["panic"]:
                self._alive = False
                raise GuestPanic("the guest's kernel panicked: made up")
            case ["hang"]:
                raise GuestHang("the guest does not answer")
            case ["print", text, *code]:
                return Result(int(code[0]) if code else 0, text, "words on stderr")
            case [path] if path in self.files:
                return Result(0, self.files[path].decode(), "")
        return Result(0, "", "")

    def _warn(self, text: str) -> None:
        self._splats.append(f"WARNING: {text}")
        self._say(f"WARNING: {text}")

    def _say(self, text: str) -> None:
        with (self.folder / "console.log").open("a") as file:
            file.write(f"{text}\n")
