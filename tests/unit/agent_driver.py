"""The fake driver before a real agent process: the memory is shared, doorbells are eventfds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fake_driver import LOW_RAM, MOST_STEPS, FakeDriver

from devmodel.abi.registers import DEVICE_PAGE, DeviceRegs
from devmodel.agent.process import Agent
from devmodel.device import DeviceConfig, Identity
from devmodel.device.config import DeviceModel
from devmodel.link import doorbell, memory
from devmodel.link.ivshmem import IvshmemEndpoint
from devmodel.link.memory import Window

_HEARTBEAT = (DEVICE_PAGE + DeviceRegs.offset("heartbeat")) // 8


class Remote:
    """Stands in for the device: a step is the agent's, waited for by its heartbeat."""

    def __init__(self, endpoint: IvshmemEndpoint) -> None:
        self.endpoint = endpoint
        self.words = endpoint.region.view("<u8")
        self.woken = doorbell.Waiter(endpoint.interrupts)

    def step(self) -> bool:
        # The first beat may be of a step that had begun already.
        wanted = int(self.words[_HEARTBEAT]) + 2
        for _ in range(MOST_STEPS):
            if int(self.words[_HEARTBEAT]) >= wanted:
                return True
            doorbell.ring(self.endpoint.doorbells[0])
            self.woken.wait(1)
        raise AssertionError("the agent does not step")


class AgentDriver(FakeDriver):
    """A driver of `agent`, whose device has no HBM; pages are in `low` RAM only."""

    def __init__(self, endpoint: IvshmemEndpoint) -> None:
        self.endpoint = endpoint
        super().__init__(hbm_size=0)

    def new_device(self, _: Identity) -> Any:
        self.region, self.low = self.endpoint.region, self.endpoint.ram.attach()
        return Remote(self.endpoint)


@contextmanager
def endpoints_of(*devices: DeviceConfig) -> Iterator[list[IvshmemEndpoint]]:
    """The endpoints of a VM with these devices and LOW_RAM bytes of RAM."""
    with ExitStack() as stack:
        fd = memory.create("ram", LOW_RAM)
        stack.callback(os.close, fd)
        ram = Window(fd=fd, offset=0, size=LOW_RAM)
        yield [IvshmemEndpoint(n, device, ram, stack) for n, device in enumerate(devices)]


@contextmanager
def agent_with(programs: Path, log: Path) -> Iterator[tuple[Agent, AgentDriver]]:
    """An agent that is ready, with a file of programs, and a driver that has taken it."""
    mirror = DeviceConfig(model=DeviceModel.MIRROR, programs=(programs,))
    with endpoints_of(mirror) as (endpoint,):
        agent = Agent.start([endpoint], 0, log, generation=1)
        try:
            assert agent.report.read() == b"ready", log.read_text()
            yield agent, AgentDriver(endpoint)
        finally:
            agent.stop()
