"""A device's agent as its supervisor sees it: memory, doorbells, a process, and its end.

::

    Endpoint   region memfd, HBM memfd, eventfds, ivshmem socket: the VM's, outlives any agent
    Agent      the process that plays the device on an endpoint

The two are apart so that another agent can be started on the same memory.
"""

import contextlib
import io
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devmodel import interpreter
from devmodel.abi.pagetable import PEERS
from devmodel.abi.registers import VECTORS, DeviceState
from devmodel.agent import registers
from devmodel.agent.config import AgentConfig, Peer
from devmodel.link import doorbell, ivshmem, memory
from devmodel.link.rammap import RamMap

STOP_SECONDS = 2.0
# A device resets itself between two bursts, which take milliseconds.
RESET_SECONDS = 3.0


def trace_file(number: int) -> str:
    """The name of a device's trace."""
    return f"device{number}.trace"


@dataclass(frozen=True)
class DeviceShape:
    """A device as the machine's configuration describes it. Sizes in bytes."""

    model: str
    hbm_size: int
    hbm_offset: int
    """of the HBM window in BAR 2; 0: HBM is not in BAR 2"""
    region_size: int
    page_shift: int = 12
    programs: tuple[str, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    node: int = 0
    """NUMA node that the HBM is to become"""


@dataclass
class Endpoint:
    """The memory and the wires of one device. `close` gives them all back."""

    shape: DeviceShape
    region_fd: int
    hbm_fd: int | None
    to_agent: list[int]
    to_guest: list[int]
    region: memory.Bytes = field(repr=False)
    server: socket.socket
    guest: socket.socket
    """QEMU's end of the ivshmem socket; close it once QEMU has it"""
    _stack: contextlib.ExitStack = field(repr=False, default_factory=contextlib.ExitStack)

    @classmethod
    def create(cls, shape: DeviceShape) -> "Endpoint":
        """New memory, eventfds and an ivshmem socket with its greeting in it."""
        with contextlib.ExitStack() as stack:

            def own(fd: int) -> int:
                stack.callback(os.close, fd)
                return fd

            region_fd = own(memory.create("region", shape.region_size))
            separate = shape.hbm_size and not shape.hbm_offset
            hbm_fd = own(memory.create("hbm", shape.hbm_size)) if separate else None
            to_agent = [own(fd) for fd in doorbell.create(VECTORS)]
            to_guest = [own(fd) for fd in doorbell.create(VECTORS)]
            server, guest = ivshmem.serve(region_fd, to_agent, to_guest)
            stack.callback(server.close)
            stack.callback(guest.close)
            region = memory.attach(region_fd)
            endpoint = cls(shape, region_fd, hbm_fd, to_agent, to_guest, region, server, guest)
            endpoint._stack = stack.pop_all()
            return endpoint

    def as_peer(self, number: int) -> Peer | None:
        """The HBM, for other devices to reach; None if there is none."""
        if not self.shape.hbm_size:
            return None
        if self.hbm_fd is not None:
            return Peer(number, self.hbm_fd, 0, self.shape.hbm_size)
        return Peer(number, self.region_fd, self.shape.hbm_offset, self.shape.hbm_size)

    def close(self) -> None:
        """Let go of everything. The memory lives on in QEMU and agent while they do."""
        self._stack.close()


class Agent:
    """A running agent. `report` gives one line once the device is there, or why it is not.

    `process` is its handle; `lost` is what to do once it has ended.
    """

    def __init__(
        self, endpoint: Endpoint, config: AgentConfig, log: Path, report: io.FileIO
    ) -> None:
        self.endpoint = endpoint
        self.config = config
        self.log = log
        self.report = report
        self._asked: tuple[int | None, float] = (None, 0.0)
        # Readable too: the agent cuts it when it becomes too long.
        with log.open("ab+") as out:
            self.process = subprocess.Popen(
                [*interpreter.command("devmodel.agent"), config.to_json()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=config.descriptors,
                # Not the terminal's Ctrl-C: the supervisor decides.
                process_group=0,
            )

    @classmethod
    def start(
        cls,
        endpoints: Sequence[Endpoint],
        number: int,
        ram_fd: int,
        ram: RamMap,
        log: Path,
        *,
        generation: int,
        trace: Path | None = None,
    ) -> "Agent":
        """Start an agent on `endpoints[number]`; the others are its peers.

        `trace` is the folder that its trace goes to, as trace_file(number). The agent dies with
        the calling *thread* (lifeline.py).
        """
        endpoint = endpoints[number]
        shape = endpoint.shape
        others = [e.as_peer(n) for n, e in enumerate(endpoints) if n != number and n < PEERS]
        reader, writer = os.pipe2(os.O_CLOEXEC)
        report = io.FileIO(reader)
        config = AgentConfig(
            name=f"dm{number}",
            parent=os.getpid(),
            ram_fd=ram_fd,
            region_fd=endpoint.region_fd,
            doorbell_fds=tuple(endpoint.to_agent),
            interrupt_fds=tuple(endpoint.to_guest),
            hbm_fd=endpoint.hbm_fd,
            ram=ram,
            model=shape.model,
            hbm_size=shape.hbm_size,
            hbm_offset=shape.hbm_offset,
            page_shift=shape.page_shift,
            node=shape.node,
            peer=ivshmem.AGENT_PEER,
            generation=generation,
            report_fd=writer,
            number=number,
            peers=tuple(peer for peer in others if peer is not None),
            programs=shape.programs,
            trace="" if trace is None else str(trace / trace_file(number)),
            faults=dict(shape.faults),
        )
        try:
            return cls(endpoint, config, log, report)
        finally:
            # The agent's alone, so that its end is the end of the report.
            os.close(writer)

    @property
    def ready(self) -> bool:
        """Whether the device's registers are in place, for a driver to find."""
        return registers.state(self.endpoint.region) is DeviceState.READY

    def overdue(self, now: float) -> bool:
        """Whether the driver asked for a reset RESET_SECONDS ago that the device has not done.

        Ask again and again; `now` is a clock's time in seconds. What such a device was given it may
        still write to, so there is no other way than to end it.
        """
        epoch = registers.unanswered_reset(self.endpoint.region)
        if epoch != self._asked[0]:
            self._asked = (epoch, now)
        return epoch is not None and now - self._asked[1] >= RESET_SECONDS

    def lost(self, *, restarting: bool = False) -> None:
        """After its end: tell the driver whether there will be another, and have it look."""
        state = DeviceState.RESTARTING if restarting else DeviceState.LOST
        registers.mark(self.endpoint.region, state)
        for fd in self.endpoint.to_guest:
            doorbell.ring(fd)

    def ending(self) -> str:
        """How the process ended, in words; it must have."""
        code = self.process.wait()
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with {code}"

    def stop(self) -> None:
        """End the process: politely, then not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.report.close()
