"""The agent: its loop, its configuration, its end, and what the supervisor writes after it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_driver import agent_with

from devmodel.abi.registers import (
    CONTROL_REGION,
    DEVICE_PAGE,
    DRIVER_PAGE,
    HBM_ALIGN,
    DeviceRegs,
    DeviceState,
    Feature,
)
from devmodel.abi.trace import TraceKind, TraceRecord
from devmodel.agent import lifeline, loop, registers
from devmodel.agent.config import AgentConfig
from devmodel.agent.process import RESET_SECONDS, Agent, DeviceShape, Endpoint
from devmodel.link import doorbell, memory
from devmodel.link.rammap import RamMap

RAM = 16 << 20


class Script:
    """A device that plays its answers, and says what was asked of it."""

    def __init__(self, steps: list[bool], arms: list[bool]) -> None:
        self.steps, self.arms, self.calls = steps, arms, ""

    def step(self) -> bool:
        self.calls += "s"
        return self.steps.pop(0)

    def arm(self) -> bool:
        self.calls += "a"
        return self.arms.pop(0)

    def tidy(self) -> None:
        self.calls += "t"


class Sleeper(doorbell.Waiter):
    """A waiter that is rung at once, and writes that into the device's calls."""

    def __init__(self, device: Script) -> None:
        super().__init__([])
        self.device = device

    def wait(self, milliseconds: int) -> bool:
        assert 10 <= milliseconds <= 50
        self.device.calls += "w"
        return True


def test_the_loop_sleeps_only_when_armed() -> None:
    device = Script([True, True, False, False, False], [False, True, True])
    loop.run(device, Sleeper(device), lambda: not device.steps, device.tidy)
    # busy, busy, idle, arming saw work; idle, armed, waited; idle, armed, waited
    assert device.calls == "stststastawstaw"


def config(tmp_path: Path, **changes: object) -> AgentConfig:
    fields: dict[str, object] = {
        "name": "dm0",
        "parent": 1,
        "ram_fd": 3,
        "region_fd": 4,
        "doorbell_fds": (5, 6),
        "interrupt_fds": (7, 8),
        "hbm_fd": None,
        "ram": RamMap.q35(RAM),
        "model": "mirror",
        "hbm_size": 0,
        "hbm_offset": 0,
        "page_shift": 12,
        "peer": 1,
        "generation": 1,
        "report_fd": 10,
        "programs": (str(tmp_path),),
    }
    return AgentConfig(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_configuration_travels(tmp_path: Path) -> None:
    original = config(tmp_path, hbm_fd=9, trace="/x/device0.trace", faults={"lost_dirty": 2})
    assert AgentConfig.from_json(original.to_json()) == original
    assert sorted(original.descriptors) == [3, 4, 5, 6, 7, 8, 9, 10]


def start(
    tmp_path: Path, shape: DeviceShape, trace: Path | None = None, generation: int = 3
) -> Agent:
    ram = memory.create("ram", RAM)
    endpoint = Endpoint.create(shape)
    log = tmp_path / "agent.log"
    agent = Agent.start(
        [endpoint], 0, ram, RamMap.q35(RAM), log, generation=generation, trace=trace
    )
    os.close(ram)
    return agent


def first_line(agent: Agent) -> str:
    return agent.report.read().decode()


def test_an_agent_identifies_itself_and_ends_on_request(tmp_path: Path) -> None:
    agent = start(tmp_path, DeviceShape("private", 2 << 20, 0, 1 << 20))
    assert first_line(agent) == "ready", agent.log.read_text()
    assert agent.ready
    found = DeviceRegs.unpack(agent.endpoint.region.tobytes(), DEVICE_PAGE)
    assert (found.generation, found.hbm_size, found.hbm_offset) == (3, 2 << 20, 0)
    agent.process.send_signal(signal.SIGINT)
    agent.stop()
    assert agent.process.returncode == 0
    agent.endpoint.close()


def test_an_agent_keeps_a_trace(tmp_path: Path) -> None:
    """A device that was started again goes on in the file of its predecessor."""
    shape = DeviceShape("private", 2 << 20, 0, 1 << 20, faults={"lost_dirty": 3})
    (tmp_path / "device0.trace").write_text("of an earlier VM")
    for generation in (1, 2):
        agent = start(tmp_path, shape, tmp_path, generation)
        assert first_line(agent) == "ready", agent.log.read_text()
        found = DeviceRegs.unpack(agent.endpoint.region.tobytes(), DEVICE_PAGE)
        assert found.features & Feature.TRACE
        agent.stop()
        agent.endpoint.close()
    data = (tmp_path / "device0.trace").read_bytes()
    kinds = [TraceRecord.unpack(data, at).kind for at in range(0, len(data), 64)]
    assert kinds == [TraceKind.START, TraceKind.END] * 2


def test_a_lost_agent_is_marked_and_the_driver_is_woken(tmp_path: Path) -> None:
    agent = start(tmp_path, DeviceShape("mirror", 0, 0, 1 << 20))
    assert first_line(agent) == "ready", agent.log.read_text()
    agent.process.kill()
    assert agent.ending() == "was killed by SIGKILL"
    agent.lost()
    assert registers.state(agent.endpoint.region) is DeviceState.LOST
    assert doorbell.Waiter(agent.endpoint.to_guest).wait(0)
    agent.endpoint.close()


def test_a_device_that_does_not_reset_itself_is_overdue(tmp_path: Path) -> None:
    programs = tmp_path / "programs.py"
    programs.write_text(
        "from devmodel.device.programs import Memory, program\n"
        "@program('nothing')\n"
        "async def nothing(memory: Memory) -> None: pass\n"
    )
    with agent_with(programs, tmp_path / "log") as (agent, driver):
        seconds = RESET_SECONDS
        assert not agent.overdue(0)
        assert not agent.overdue(2 * seconds)  # nobody asked
        os.kill(agent.process.pid, signal.SIGSTOP)
        driver.region.view("<u8")[DRIVER_PAGE // 8] += 1
        assert not agent.overdue(10)
        assert not agent.overdue(10 + seconds / 2)
        assert agent.overdue(10 + seconds)
        # Asked for another one, it has its time again.
        driver.region.view("<u8")[DRIVER_PAGE // 8] += 1
        assert not agent.overdue(10 + 2 * seconds)
        os.kill(agent.process.pid, signal.SIGCONT)
        for fd in driver.endpoint.to_agent:
            doorbell.ring(fd)
        end = time.monotonic() + 30
        while registers.unanswered_reset(agent.endpoint.region) is not None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not agent.overdue(100)


def test_a_program_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    programs = (str(tmp_path / "none.py"),)
    agent = start(tmp_path, DeviceShape("mirror", 0, 0, 1 << 20, programs=programs))
    assert first_line(agent) == f"refused: {programs[0]}: no such file"
    assert agent.process.wait(10) == 1
    agent.endpoint.close()


def test_two_programs_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from devmodel.device.programs import Memory, program\n\n"
        '@program("fill")\nasync def fill(memory: Memory) -> None: ...\n'
    )
    agent = start(tmp_path, DeviceShape("mirror", 0, 0, 1 << 20, programs=(str(file),)))
    line = first_line(agent)
    assert line == f"refused: {file}: there is a program fill already; rename yours"
    agent.stop()
    agent.endpoint.close()


def test_a_nonsense_state_counts_as_lost() -> None:
    region = memory.attach(memory.create("region", 4096))
    offset = DEVICE_PAGE + DeviceRegs.offset("state")
    region[offset] = 99
    assert registers.state(region) is DeviceState.LOST


def test_agents_need_a_configuration() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devmodel.agent"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr


# The parent starts a child behind the lifeline, waits until that runs, and says its pid. (Killed
# earlier, it would take the child with it in another way: the lifeline sees that it is gone.)
PARENT = """
import os, subprocess, sys
command = ["sh", "-c", "echo up; exec sleep 1000"]
child = subprocess.Popen(
    [sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), *command], stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_behind_the_lifeline_dies_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, lifeline.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    # A pidfd becomes readable when its process ends, whoever is to collect it.
    assert select.select([child], [], [], 10)[0]
    os.close(child)


def test_the_lifeline_refuses_to_start_without_a_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", lifeline.__file__, "1", "echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the parent process is gone" in done.stderr


@pytest.mark.parametrize("model", ["mirror", "private", "coherent"])
def test_hbm_is_where_the_model_has_it(model: str) -> None:
    shapes = {
        "mirror": DeviceShape("mirror", 0, 0, 1 << 20),
        "private": DeviceShape("private", 2 << 20, 0, 1 << 20),
        "coherent": DeviceShape("coherent", 128 << 20, 128 << 20, 256 << 20),
    }
    endpoint = Endpoint.create(shapes[model])
    assert (endpoint.hbm_fd is not None) == (model == "private")
    endpoint.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(endpoint.region_fd)


def test_an_agent_reaches_the_memory_of_its_peers(tmp_path: Path) -> None:
    """Each by its number: private HBM is a descriptor of its own, coherent HBM a part of BAR 2."""
    shapes = [
        DeviceShape("private", 2 << 20, 0, CONTROL_REGION),
        DeviceShape("coherent", HBM_ALIGN, HBM_ALIGN, 2 * HBM_ALIGN),
        DeviceShape("mirror", 0, 0, CONTROL_REGION),
    ]
    with contextlib.ExitStack() as stack:
        endpoints = [Endpoint.create(shape) for shape in shapes]
        for endpoint in endpoints:
            stack.callback(endpoint.close)
        ram = memory.create("ram", RAM)
        stack.callback(os.close, ram)
        log = tmp_path / "agent.log"
        agent = Agent.start(endpoints, 2, ram, RamMap.q35(RAM), log, generation=1)
        stack.callback(agent.stop)
        private, coherent = agent.config.peers
        assert (private.number, private.fd, private.offset) == (0, endpoints[0].hbm_fd, 0)
        assert (coherent.number, coherent.fd) == (1, endpoints[1].region_fd)
        assert (coherent.offset, coherent.size) == (HBM_ALIGN, HBM_ALIGN)
        assert first_line(agent) == "ready"
