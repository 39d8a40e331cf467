"""A VM that is none, for those that boot one for each memory model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from devmodel.build.config import KernelConfig
from devmodel.errors import LaunchFailed
from devmodel.experiment import fleet
from devmodel.machine.shell import Result as Done

AGENT = 4711


class FakeMachine:
    """One for each model; `outputs` says what comes of a model's, `closed` which have ended."""

    outputs: ClassVar[dict[str, object]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, config: SimpleNamespace) -> None:
        self.config = config
        self.model: str = config.devices[0].model.value
        self.folder = Path("/vms") / self.model
        self.devices = [SimpleNamespace(pid=AGENT)]

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


def install(monkeypatch: pytest.MonkeyPatch, kind: type[FakeMachine]) -> None:
    """Machines of this kind instead of VMs, and nothing is built."""

    def load(name: str) -> Any:
        device = SimpleNamespace(model=SimpleNamespace(value=name))
        return SimpleNamespace(devices=(device,), kernel=KernelConfig(), qemu="auto")

    monkeypatch.setattr(fleet, "Machine", kind)
    monkeypatch.setattr(fleet.MachineConfig, "load", load)
    monkeypatch.setattr(fleet.guest, "build", lambda *_, **__: None)
    FakeMachine.closed = []
    FakeMachine.outputs = {}
