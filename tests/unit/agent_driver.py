"""The fake driver before a real agent process: the memory is shared, doorbells are eventfds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_driver import LOW_RAM, MOST_STEPS, FakeDriver

from devmodel.abi.registers import DEVICE_PAGE, DeviceRegs
from devmodel.agent.process import Agent, DeviceShape, Endpoint
from devmodel.device import DeviceConfig
from devmodel.link import doorbell, memory
from devmodel.link.rammap import RamMap

_HEARTBEAT = (DEVICE_PAGE + DeviceRegs.offset("heartbeat")) // 8


class Remote:
    """Stands in for the device: a step is the agent's, waited for by its heartbeat."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.words = endpoint.region.view("<u8")
        self.woken = doorbell.Waiter(endpoint.to_guest)

    def step(self) -> bool:
        # The first beat may be of a step that had begun already.
        wanted = int(self.words[_HEARTBEAT]) + 2
        for _ in range(MOST_STEPS):
            if int(self.words[_HEARTBEAT]) >= wanted:
                return True
            doorbell.ring(self.endpoint.to_agent[0])
            self.woken.wait(1)
        raise AssertionError("the agent does not step")


class AgentDriver(FakeDriver):
    """A driver of `agent`, whose device has no HBM; pages are in `low` RAM only."""

    def __init__(self, endpoint: Endpoint, ram: memory.Bytes) -> None:
        self.endpoint, self.ram = endpoint, ram
        super().__init__(hbm_size=0)

    def new_device(self, _: DeviceConfig) -> Any:
        self.region, self.low = self.endpoint.region, self.ram
        return Remote(self.endpoint)


@contextmanager
def agent_with(programs: Path, log: Path) -> Iterator[tuple[Agent, AgentDriver]]:
    """An agent that is ready, with a file of programs, and a driver that has taken it."""
    shape = DeviceShape("mirror", 0, 0, 1 << 20, programs=(str(programs),))
    endpoint = Endpoint.create(shape)
    fd = memory.create("ram", LOW_RAM)
    ram = memory.attach(fd)
    agent = Agent.start([endpoint], 0, fd, RamMap.q35(LOW_RAM), log, generation=1)
    os.close(fd)
    try:
        assert agent.report.read() == b"ready", log.read_text()
        yield agent, AgentDriver(endpoint, ram)
    finally:
        agent.stop()
        endpoint.close()
