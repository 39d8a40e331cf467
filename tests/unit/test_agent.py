"""The agent: its loop, its configuration, its end, and what the supervisor writes after it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_driver import agent_with, endpoints_of

from devmodel.abi.registers import (
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
from devmodel.agent.process import RESET_SECONDS, Agent
from devmodel.device import DeviceConfig
from devmodel.device.config import DeviceModel
from devmodel.device.faults import Faults
from devmodel.link import doorbell, memory
from devmodel.link.memory import Window

MIRROR = DeviceConfig(model=DeviceModel.MIRROR)
PRIVATE = DeviceConfig(hbm=2 << 20)
COHERENT = DeviceConfig(model=DeviceModel.COHERENT, hbm=HBM_ALIGN)


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

    def wait(self, milliseconds: int) -> None:
        assert 10 <= milliseconds <= 50
        self.calls += "w"

    def tidy(self) -> None:
        self.calls += "t"


def test_the_loop_sleeps_only_when_armed() -> None:
    device = Script([True, True, False, False, False], [False, True, True])
    loop.run(device, device.wait, lambda: not device.steps, device.tidy)
    # busy, busy, idle, arming saw work; idle, armed, waited; idle, armed, waited
    assert device.calls == "stststastawstaw"


def test_a_configuration_travels(tmp_path: Path) -> None:
    """With all that a device can be described by, and every descriptor."""
    device = DeviceConfig(
        model=DeviceModel.NUMA,
        hbm=HBM_ALIGN,
        node=3,
        programs=(tmp_path / "mine.py",),
        faults=Faults(lost_dirty=2),
    )
    with endpoints_of(device, PRIVATE) as (endpoint, other):
        assert other.hbm is not None
        config = AgentConfig(
            parent=1,
            device=endpoint.device,
            number=0,
            generation=2,
            wires=endpoint.wires({1: other.hbm}),
            report_fd=10,
            trace=tmp_path / "no UTF-8: \udc80" / "device0.trace",
        )
        assert AgentConfig.from_json(config.to_json()) == config
        assert config.device is device
        wanted = {endpoint.hbm.fd, other.hbm.fd, endpoint.ram.fd}
        assert config.descriptors == {*wanted, *endpoint.doorbells, *endpoint.interrupts, 10}


@contextmanager
def started(
    folder: Path, device: DeviceConfig, trace: Path | None = None, generation: int = 3
) -> Iterator[Agent]:
    with endpoints_of(device) as endpoints:
        log = folder / "agent.log"
        agent = Agent.start(endpoints, 0, log, generation=generation, trace=trace)
        try:
            yield agent
        finally:
            agent.stop()


def first_line(agent: Agent) -> str:
    return agent.report.read().decode()


def test_an_agent_identifies_itself_and_ends_on_request(tmp_path: Path) -> None:
    with started(tmp_path, PRIVATE) as agent:
        assert first_line(agent) == "ready", agent.log.read_text()
        assert agent.ready
        found = DeviceRegs.unpack(agent.endpoint.region.tobytes(), DEVICE_PAGE)
        assert (found.generation, found.hbm_size, found.hbm_offset) == (3, 2 << 20, 0)
        agent.process.send_signal(signal.SIGINT)
        agent.stop()
        assert agent.process.returncode == 0


def test_an_agent_keeps_a_trace(tmp_path: Path) -> None:
    """A device that was started again goes on in the file of its predecessor."""
    device = DeviceConfig(hbm=2 << 20, faults=Faults(lost_dirty=3))
    (tmp_path / "device0.trace").write_text("of an earlier VM")
    for generation in (1, 2):
        with started(tmp_path, device, tmp_path, generation) as agent:
            assert first_line(agent) == "ready", agent.log.read_text()
            found = DeviceRegs.unpack(agent.endpoint.region.tobytes(), DEVICE_PAGE)
            assert found.features & Feature.TRACE
    data = (tmp_path / "device0.trace").read_bytes()
    kinds = [TraceRecord.unpack(data, at).kind for at in range(0, len(data), 64)]
    assert kinds == [TraceKind.START, TraceKind.END] * 2


def test_a_lost_agent_is_marked_and_the_driver_is_woken(tmp_path: Path) -> None:
    with endpoints_of(MIRROR) as (endpoint,):
        agent = Agent.start([endpoint], 0, tmp_path / "agent.log", generation=1)
        assert first_line(agent) == "ready", agent.log.read_text()
        agent.process.kill()
        assert agent.ending() == "was killed by SIGKILL"
        agent.lost()
        assert registers.state(endpoint.region) is DeviceState.LOST
        for vector in endpoint.interrupts:
            assert doorbell.Waiter([vector]).wait(0)


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
        for fd in driver.endpoint.doorbells:
            doorbell.ring(fd)
        end = time.monotonic() + 30
        while registers.unanswered_reset(agent.endpoint.region) is not None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not agent.overdue(100)


def test_a_program_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    with started(tmp_path, MIRROR.model_copy(update={"programs": (file,)})) as agent:
        assert first_line(agent) == f"refused: {file}: no such file"
        assert agent.process.wait(10) == 1


def test_two_programs_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from devmodel.device.programs import Memory, program\n\n"
        '@program("fill")\nasync def fill(memory: Memory) -> None: ...\n'
    )
    with started(tmp_path, MIRROR.model_copy(update={"programs": (file,)})) as agent:
        line = first_line(agent)
        assert line == f"refused: {file}: there is a program fill already; rename yours"


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


def test_hbm_is_where_the_model_has_it() -> None:
    with endpoints_of(MIRROR, PRIVATE, COHERENT) as (mirror, private, coherent):
        assert mirror.hbm is None
        assert private.hbm == Window(fd=private.hbm.fd, offset=0, size=2 << 20)
        assert os.fstat(private.hbm.fd).st_size == 2 << 20
        # A part of BAR 2.
        coherent.hbm.attach()[7] = 9
        assert coherent.region[HBM_ALIGN + 7] == 9
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(private.hbm.fd)


def test_an_agent_reaches_the_memory_of_its_peers(tmp_path: Path) -> None:
    """Each by its number: private HBM is a descriptor of its own, coherent HBM a part of BAR 2."""
    with endpoints_of(PRIVATE, COHERENT, MIRROR) as endpoints:
        agent = Agent.start(endpoints, 2, tmp_path / "agent.log", generation=1)
        assert agent.config.wires.peers == {0: endpoints[0].hbm, 1: endpoints[1].hbm}
        assert first_line(agent) == "ready"
        agent.stop()
