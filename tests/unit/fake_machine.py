"""A VM that is none, for those that boot one for each memory model."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from test_results import ROW

from devmodel.abi.counters import Counted
from devmodel.errors import LaunchFailed
from devmodel.experiment import fleet
from devmodel.machine.config import MachineConfig
from devmodel.machine.rundir import VmInfo
from devmodel.machine.shell import Result as Done

AGENT = 4711


class FakeMachine:
    """One for each model; `outputs` says what comes of a model's, `closed` which have ended."""

    outputs: ClassVar[dict[str, object]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.model: str = config.devices[0].model.value
        self.folder = Path("/vms") / self.model
        self.devices = [SimpleNamespace(pid=AGENT)]
        kernel = config.kernel.series or "7.2.0"
        self.info = VmInfo(self.model, 1, "running", kernel=kernel, qemu="11.0", accelerator="tcg")

    @property
    def qemu_pid(self) -> int:
        raise RuntimeError("this machine is not running")

    def __enter__(self) -> "FakeMachine":
        if isinstance(output := self.outputs.get(self.model), LaunchFailed):
            raise output
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.append(self.model)

    def answer(self) -> Done:
        """What `outputs` has for this model: returned, or raised if it is an error."""
        output = self.outputs[self.model]
        if isinstance(output, Exception):
            raise output
        assert isinstance(output, Done)
        return output


# What dm-stats counts around a program, beside its exit code.
COUNTED = {
    **{field.name: ROW[field.name] for field in Counted.FIELDS},
    "wall_seconds": 0.5,
    "hbm_bytes_in_use": 4096,
    "samples": {"seconds": [0.0, 0.5], "hbm_bytes_in_use": [0, 4096], "of no interest": []},
}


def under_counting(command: str | Sequence[str]) -> list[str]:
    """The workload's own words, if the command has dm-stats count around it; else none."""
    words = shlex.split(command) if isinstance(command, str) else list(command)
    return words[words.index("--") + 1 :] if "dm-stats" in words else []


def is_counts(command: str | Sequence[str]) -> bool:
    """Whether the command asks for what dm-stats has written."""
    return isinstance(command, str) and command.startswith("cat ")


def counts(**changes: object) -> Done:
    """What dm-stats has written."""
    return Done(0, json.dumps({**COUNTED, "exit_code": 0, **changes}), "")


def install(monkeypatch: pytest.MonkeyPatch, kind: type[FakeMachine]) -> None:
    """Machines of this kind instead of VMs, and nothing is built."""
    monkeypatch.setattr(fleet, "Machine", kind)
    monkeypatch.setattr(fleet.guest, "build", lambda *_, **__: None)
    FakeMachine.closed = []
    FakeMachine.outputs = {}


def machines(*models: str) -> dict[str, Any]:
    """Those that fleet is given."""
    return {model: MachineConfig.load(model) for model in models}
