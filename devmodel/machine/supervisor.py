"""The thread that owns a VM's processes: starts them, watches them, ends them.

One thread with one asyncio loop for each VM, which lives exactly as long as the VM's processes:
they are told to die with the thread that started them (devmodel.agent.lifeline), so neither an
exception nor a SIGKILL leaves anything behind. Everyone else sees `State`, under its condition.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from devmodel.agent import lifeline
from devmodel.agent.config import LONGEST_REPORT, READY, REFUSED
from devmodel.agent.process import Agent
from devmodel.errors import ConfigError, LaunchFailed
from devmodel.link import Endpoint
from devmodel.machine.console import Console
from devmodel.machine.qmp import Monitor
from devmodel.machine.virtiofs import Server

T = TypeVar("T")

QUIT_SECONDS = 5.0
RESET_LOOK_SECONDS = 0.5
RESTART_SECONDS = 60.0
# Limits for a host under load; all of this takes less than a second on one that is not.
AGENT_SECONDS = 60.0
START_SECONDS = 120.0


@dataclass
class State:
    """What is known of the VM. Read and written with `changed` held."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    exit_code: int | None = None
    """QEMU's, once it ended"""
    lost_devices: dict[int, str] = field(default_factory=dict)
    """number of the device → how its last agent ended"""
    restarts: dict[int, int] = field(default_factory=dict)
    """number of the device → agents that were started in place of one that had ended"""


@dataclass(frozen=True)
class Plan:
    """What to start: `command` gives QEMU's argv once its sockets are there."""

    name: str
    command: Callable[[int, int], list[str]]
    """(qmp, console) → argv"""
    folder: Path
    files: tuple[int, ...] = ()
    """descriptors that the command names, beside those two"""
    servers: tuple[Server, ...] = ()
    """of shared folders"""
    trace: Path | None = None
    """folder for the devices' traces"""
    restarts: int = 0
    """of one device's agent in RESTART_SECONDS at most; one more, and the device is lost"""
    run: bool = True
    """False leaves the guest's processors stopped, for a debugger"""


class Supervisor:
    """Runs a `Plan` on `endpoints`. Use from any thread but its own."""

    def __init__(self, plan: Plan, endpoints: Sequence[Endpoint], console: Console) -> None:
        self.state = State()
        self.console = console
        self.agents: list[Agent] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.monitor = Monitor(plan.name)
        self._plan = plan
        self._endpoints = endpoints
        self._stopping = False
        self.restarts = True
        """whether an agent that ended may be followed by another"""
        # All devices have been there; before, an agent that ends is a launch that failed.
        self._ready = False
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: list[socket.socket] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._run_loop, name=f"devmodel-{plan.name}")
        # A program that forgets to close its VM must still be able to end.
        self._thread.daemon = True
        self._thread.start()

    # --- for other threads

    @property
    def trace(self) -> Path | None:
        """Folder of the devices' traces, if they are kept."""
        return self._plan.trace

    def call(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run `work` on the supervisor's loop and wait for it. TimeoutError after `timeout` s."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def start(self) -> None:
        """Start agents and QEMU. LaunchFailed if that does not work."""
        self.call(self._start(), START_SECONDS)

    def close(self) -> None:
        """End all processes and the thread. May be called again."""
        if not self._thread.is_alive():
            return
        try:
            self.call(self._stop(), 4 * QUIT_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(QUIT_SECONDS)

    def wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()`, asked whenever something happened, but `timeout` s at most."""
        with self.state.changed:
            return self.state.changed.wait_for(condition, timeout)

    def catch_up(self) -> None:
        """Have everything looked at that has happened by now: console output, ended processes."""
        if self._thread.is_alive():
            self.call(_turns(), QUIT_SECONDS)

    # --- the thread

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _notify(self) -> None:
        with self.state.changed:
            self.state.changed.notify_all()

    async def _start(self) -> None:
        plan = self._plan
        with contextlib.ExitStack() as stack:
            qmp, qemu_qmp = socket.socketpair()
            console, qemu_console = socket.socketpair()
            self._sockets += [qmp, console]
            for sock in (qemu_qmp, qemu_console):
                stack.callback(sock.close)
            for number in range(len(self._endpoints)):
                self.agents.append(self._start_agent(number, 1))
                self._tasks.append(self._loop.create_task(self._watch_agent(number)))
            for number, server in enumerate(plan.servers):
                log = plan.folder / f"share{number}.log"
                self._servers.append(_spawn(list(server.argv), (server.listener.fileno(),), log))
            own = (qemu_qmp.fileno(), qemu_console.fileno())
            argv = plan.command(*own)
            self.process = _spawn(argv, (*own, *plan.files), plan.folder / "qemu.log")
            self._tasks.append(self._loop.create_task(self._watch_qemu(self.process)))
            self._tasks.append(self._loop.create_task(self._read_console(console)))
        for endpoint in self._endpoints:
            endpoint.handed_over()
        await self.monitor.connect(qmp)
        # QEMU waits (-S) until the devices are there: the guest's driver looks only once.
        await asyncio.gather(*(_agent_ready(agent) for agent in self.agents))
        self._ready = True
        if plan.run:
            await self.monitor.command("cont")

    async def _watch_qemu(self, process: subprocess.Popen[bytes]) -> None:
        code = await _ended(process)
        with self.state.changed:
            self.state.exit_code = code
            self.state.changed.notify_all()

    def _start_agent(self, number: int, generation: int) -> Agent:
        return Agent.start(
            self._endpoints,
            number,
            self._plan.folder / f"agent{number}.log",
            generation=generation,
            trace=self._plan.trace,
        )

    async def _watch_agent(self, number: int) -> None:
        """Start another agent for one that has ended, as often as may be; then it is lost."""
        began: list[float] = []
        while True:
            agent = self.agents[number]
            resets = self._loop.create_task(self._watch_resets(agent))
            await _ended(agent.process)
            resets.cancel()
            if self._stopping:
                return
            now = self._loop.time()
            began = [time for time in began if now - time < RESTART_SECONDS]
            again = self._ready and self.restarts and len(began) < self._plan.restarts
            agent.lost(restarting=again)
            if not (again and await self._restart(number, agent.config.generation + 1)):
                break
            began.append(now)
        self.agents[number].lost()
        with self.state.changed:
            self.state.lost_devices[number] = self.agents[number].ending()
            self.state.changed.notify_all()

    async def _restart(self, number: int, generation: int) -> bool:
        """Whether another agent is there."""
        agent = self.agents[number] = self._start_agent(number, generation)
        try:
            await _agent_ready(agent)
        except (ConfigError, LaunchFailed):
            agent.stop()
            return False
        with self.state.changed:
            self.state.restarts[number] = self.state.restarts.get(number, 0) + 1
            self.state.changed.notify_all()
        return True

    async def _watch_resets(self, agent: Agent) -> None:
        """End an agent that does not do what a driver asks for that has given it up."""
        while not agent.overdue(self._loop.time()):
            await asyncio.sleep(RESET_LOOK_SECONDS)
        agent.process.kill()

    async def _read_console(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with sock:
            while True:
                try:
                    data = await self._loop.sock_recv(sock, 65536)
                except OSError:
                    break
                if not data:
                    break
                self.console.feed(data)
                self._notify()
        self.console.close()
        self._notify()

    async def _stop(self) -> None:
        self._stopping = True
        process = self.process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_ended(process), QUIT_SECONDS)
            if process.poll() is None:
                process.kill()
        await self.monitor.disconnect()
        for agent in self.agents:
            agent.stop()
        for server in self._servers:
            # It ends by itself when QEMU does; this is for one that does not.
            server.kill()
            server.wait()
        # The console ends with QEMU; what is still in the socket is read first.
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=QUIT_SECONDS)
            for task in late:
                task.cancel()
        for sock in self._sockets:
            sock.close()


async def _turns() -> None:
    """Let the loop poll its descriptors, read them, and do what follows from that."""
    for _ in range(3):
        await asyncio.sleep(0)


async def _agent_ready(agent: Agent) -> None:
    """Wait for the agent's line.

    ConfigError if it is a refusal, LaunchFailed with the end of its log if it ends instead.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(agent.report, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), AGENT_SECONDS)
        line = os.read(agent.report.fileno(), LONGEST_REPORT).decode(errors="replace")
    except TimeoutError:
        line = ""
    finally:
        loop.remove_reader(agent.report)
        agent.report.close()
    if line.startswith(REFUSED):
        raise ConfigError(f"programs: {line.removeprefix(REFUSED)}")
    if line != READY:
        text = agent.log.read_text(errors="replace").splitlines()
        raise LaunchFailed(
            f"the agent of {agent.config.name} did not start",
            hint=f"its log is {agent.log}",
            details="\n".join(text[-15:]),
        )


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process by its pidfd: no thread, no polling, no clash with others' children."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return process.wait()


def _spawn(argv: list[str], fds: tuple[int, ...], log: Path) -> subprocess.Popen[bytes]:
    """Start a program behind the lifeline, its complaints going to `log`."""
    wrapper = [sys.executable, "-I", "-S", lifeline.__file__, str(os.getpid())]
    with log.open("wb") as out:
        try:
            return subprocess.Popen(
                [*wrapper, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=fds,
                # Not the terminal's Ctrl-C: the supervisor decides.
                process_group=0,
            )
        except OSError as error:
            raise LaunchFailed(f"{argv[0]} does not start: {error.strerror}") from error
