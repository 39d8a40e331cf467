"""A device's agent as its supervisor sees it: a process on an endpoint, and its end.

The endpoint (devmodel.link) is the VM's: another agent can be started on the same memory.
"""

import io
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devmodel import interpreter
from devmodel.abi.pagetable import PEERS
from devmodel.abi.registers import DeviceState
from devmodel.agent import registers
from devmodel.agent.config import AgentConfig
from devmodel.link import Endpoint

STOP_SECONDS = 2.0
# A device resets itself between two bursts, which take milliseconds.
RESET_SECONDS = 3.0


def trace_file(number: int) -> str:
    """The name of a device's trace."""
    return f"device{number}.trace"


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
                pass_fds=tuple(config.descriptors),
                # Not the terminal's Ctrl-C: the supervisor decides.
                process_group=0,
            )

    @classmethod
    def start(
        cls,
        endpoints: Sequence[Endpoint],
        number: int,
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
        others = {n: e.hbm for n, e in enumerate(endpoints) if n != number and n < PEERS}
        reader, writer = os.pipe2(os.O_CLOEXEC)
        report = io.FileIO(reader)
        config = AgentConfig(
            parent=os.getpid(),
            device=endpoint.device,
            number=number,
            generation=generation,
            wires=endpoint.wires({n: hbm for n, hbm in others.items() if hbm is not None}),
            report_fd=writer,
            trace=None if trace is None else trace / trace_file(number),
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
        self.endpoint.alert()

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
