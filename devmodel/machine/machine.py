"""One VM from start to end.

::

    with Machine.from_yaml("private") as vm:
        vm.put(Path("a.out"), "/tmp/a.out")
        result = vm.run(["/tmp/a.out"], timeout=60)

Entering builds what is missing, starts agents and QEMU and waits for the guest; leaving keeps
console.log and dmesg, ends everything and raises if the kernel complained meanwhile.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from devmodel.build import guest
from devmodel.device.config import DeviceConfig
from devmodel.errors import (
    CommandTimeout,
    DeviceLost,
    DevmodelError,
    GuestOops,
    HostNotReady,
)
from devmodel.link.memory import Bytes
from devmodel.machine import accel, copies, host, rundir
from devmodel.machine.config import MachineConfig
from devmodel.machine.console import Event
from devmodel.machine.launch import Options, Running, explain, launch
from devmodel.machine.rundir import VmInfo
from devmodel.machine.shell import GuestShell, Result, ShellGone
from devmodel.machine.stream import ShellTimeout
from devmodel.machine.supervisor import Supervisor
from devmodel.progress import Reporter

COMMAND_SECONDS = 300.0
ALIVE_SECONDS = 10.0
DMESG_SECONDS = 15.0


@dataclass(frozen=True)
class Device:
    """A device of a running VM, as the host sees it."""

    number: int
    config: DeviceConfig
    region: Bytes
    """BAR 2, shared with guest and agent"""
    log: Path
    pid: int


class Machine:
    """A VM. Made by `from_yaml` or from a `MachineConfig`; runs while it is entered."""

    def __init__(
        self,
        config: MachineConfig,
        *,
        reporter: Reporter | None = None,
        options: Options | None = None,
    ) -> None:
        self.config = config
        self.options = options or Options()
        self.reporter = reporter or Reporter(quiet=True)
        self._stack = contextlib.ExitStack()
        self._running: Running | None = None
        self._supervisor: Supervisor | None = None
        """known before the guest is up"""
        self._expected: list[str] = []
        self._forgotten = 0
        self._expect_lost = False
        self._silent = False
        """the guest did not answer the last time"""
        self._dmesg = ""

    @classmethod
    def from_yaml(
        cls,
        config: str | Path,
        *,
        reporter: Reporter | None = None,
        options: Options | None = None,
    ) -> Self:
        """A VM from a YAML file, or from a shipped description by name. ConfigError if bad."""
        return cls(MachineConfig.load(config), reporter=reporter, options=options)

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        trouble: Exception | None = None
        if error is None:
            try:
                self.check()
            except Exception as found:
                trouble = found
        cause = trouble if error is None else error
        try:
            self.close(cause)
        except HostNotReady:
            # A disk that is full must not hide what happened before.
            if cause is None:
                raise
        if trouble is not None:
            raise trouble

    def start(self) -> None:
        """Build, launch, and wait until the guest answers. LaunchFailed, BootTimeout and others."""
        if self._running is not None:
            raise RuntimeError("this machine runs already")
        self.config.check_files()
        config = self.config
        built = guest.build(config.kernel, self.reporter, qemu=config.qemu, root=config.root)
        accelerator = accel.choose(self.config.accel, built.emulator)
        host.require_memory(self.config)
        with contextlib.ExitStack() as stack:
            self._running = launch(
                self.config, self.options, accelerator, built, self.reporter, stack, self._begun
            )
            self._stack = stack.pop_all()

    def _begun(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def kill(self) -> None:
        """End QEMU if it runs, also while the guest still boots; from any thread.

        Whoever waits for the guest is told then. The VM has to be closed all the same.
        """
        process = None if self._supervisor is None else self._supervisor.process
        if process is not None and process.poll() is None:
            process.kill()

    def close(self, cause: BaseException | None = None) -> None:
        """End the VM, whatever state it is in; logs stay. May be called again.

        `cause` is kept as the reason of the end.
        """
        # Taken away first: a second caller, or another thread's command, finds nothing.
        running, self._running = self._running, None
        if running is None:
            return
        folder = running.folder
        with self._stack:
            if running.supervisor.state.exit_code is None and not self._silent:
                with contextlib.suppress(ShellGone, ShellTimeout):
                    self._dmesg = running.shell.run(["dmesg"], timeout=DMESG_SECONDS).stdout
                    with rundir.explained(folder.path):
                        (folder.path / "dmesg").write_text(self._dmesg)
            running.shell.close()
            folder.write(running.info.ended(cause))

    # --- what is known

    @property
    def _up(self) -> Running:
        if self._running is None:
            raise RuntimeError("this machine is not running")
        return self._running

    @property
    def folder(self) -> Path:
        """Where this VM's logs are."""
        return self._up.folder.path

    @property
    def trace(self) -> Path | None:
        """Folder of the devices' traces (`devmodel check` reads it); None if there are none."""
        return self._up.supervisor.trace

    @property
    def name(self) -> str:
        """The VM's name, unique among those that run."""
        return self._up.folder.name

    @property
    def info(self) -> VmInfo:
        """What it is made of: kernel, QEMU, accelerator."""
        return self._up.info

    @property
    def ready_seconds(self) -> float:
        """From the start of QEMU to a guest that answered."""
        return self._up.ready_seconds

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._running is not None and self._running.supervisor.state.exit_code is None

    @property
    def devices(self) -> list[Device]:
        """The devices, by number."""
        agents = self._up.supervisor.agents
        return [
            Device(number, config, agent.endpoint.region, agent.log, agent.process.pid)
            for number, (config, agent) in enumerate(zip(self.config.devices, agents, strict=True))
        ]

    @property
    def qemu_pid(self) -> int:
        """QEMU's process id."""
        process = self._up.supervisor.process
        assert process is not None
        return process.pid

    @property
    def splats(self) -> list[Event]:
        """The kernel's complaints that nobody said to expect."""
        self._up.supervisor.catch_up()
        events = self._up.supervisor.console.splats()[self._forgotten :]
        return [e for e in events if not any(text in e.line for text in self._expected)]

    def expect(self, text: str) -> None:
        """Complaints of the kernel that contain `text` are part of the plan."""
        self._expected.append(text)

    def forget(self) -> None:
        """Complaints so far, and what was to be expected, do not matter from now on."""
        self._up.supervisor.catch_up()
        self._forgotten = len(self._up.supervisor.console.splats())
        self._expected.clear()

    def expect_device_lost(self) -> None:
        """Losing a device is part of the plan: its agent is not started again."""
        self._expect_lost = True
        if self._running is not None:
            self._running.supervisor.restarts = False

    def check(self) -> None:
        """Raise what is wrong with the VM, if anything is: a GuestError of the right kind.

        HostNotReady if its console could not be kept, and what a listener to it raised.
        """
        supervisor = self._up.supervisor
        supervisor.catch_up()
        state = supervisor.state
        if state.exit_code is not None:
            raise explain(supervisor, "the VM is gone")
        if supervisor.console.failure is not None:
            with rundir.explained(supervisor.console.path):
                raise supervisor.console.failure
        if state.lost_devices and not self._expect_lost:
            number, how = next(iter(state.lost_devices.items()))
            log = supervisor.agents[number].log
            raise DeviceLost(f"the agent of device {number} {how}", hint=f"its log is {log}")
        if splats := self.splats:
            raise GuestOops(
                f"the guest's kernel complained: {splats[0].line}",
                hint=f"see {supervisor.console.path}",
                details="\n".join(event.line for event in splats),
            )

    @property
    def lost_devices(self) -> tuple[int, ...]:
        """The numbers of the devices whose agents are gone."""
        return tuple(sorted(self._up.supervisor.state.lost_devices))

    @property
    def restarts(self) -> tuple[int, ...]:
        """How often the agent of each device was started again."""
        counts = self._up.supervisor.state.restarts
        return tuple(counts.get(number, 0) for number in range(len(self._up.supervisor.agents)))

    def record(self) -> None:
        """Bring vm.json up to date, for others to read."""
        running = self._up
        running.info = replace(running.info, lost_devices=self.lost_devices, restarts=self.restarts)
        running.folder.write(running.info)

    def wait_change(self, timeout: float) -> bool:
        """Until QEMU ends or an agent does, but `timeout` seconds at most; whether one did.

        An agent's end counts once another is there in its place, or none is to be.
        """
        state = self._up.supervisor.state
        before = len(state.lost_devices), sum(state.restarts.values())
        return self._up.supervisor.wait_for(
            lambda: (
                state.exit_code is not None
                or (len(state.lost_devices), sum(state.restarts.values())) != before
            ),
            timeout,
        )

    # --- work in the guest

    @property
    def shell(self) -> GuestShell:
        """The guest's shell."""
        return self._up.shell

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | str | int = b"",
        timeout: float = COMMAND_SECONDS,
        stdout: io.BufferedIOBase | None = None,
        stderr: io.BufferedIOBase | None = None,
    ) -> Result:
        """Run a command in the guest: a list of words, or a line for its shell.

        The command's own failure is in the result. GuestPanic, GuestOops, GuestHang or MachineLost
        if the guest did not survive it; CommandTimeout if only the command took too long. Output
        goes to `stdout` and `stderr` as it comes, if they are given; `stdin` may be a descriptor.
        """
        running = self._up
        try:
            return running.shell.run(
                command, stdin=stdin, timeout=timeout, stdout=stdout, stderr=stderr
            )
        except (ShellTimeout, ShellGone) as error:
            shown = command if isinstance(command, str) else " ".join(command)
            raise self._trouble(running, shown, timeout, error) from error

    def put(self, source: Path, target: str, *, timeout: float = COMMAND_SECONDS) -> None:
        """Copy a file or folder into the guest's folder `target`, or by that name.

        CopyFailed if the guest refuses.
        """
        shell = self.shell
        self._transfer(
            lambda: copies.put(shell, [source], target, timeout=timeout), target, timeout
        )

    def get(self, source: str, target: Path, *, timeout: float = COMMAND_SECONDS) -> None:
        """Copy a file or folder out of the guest into the folder `target`, or by that name.

        CopyFailed if it cannot be read or written.
        """
        shell = self.shell
        self._transfer(lambda: copies.get(shell, source, target, timeout=timeout), source, timeout)

    def dmesg(self) -> str:
        """The kernel's log; after the end, as it was then."""
        if self._running is None:
            return self._dmesg
        return self.run(["dmesg"], timeout=DMESG_SECONDS).stdout

    def _transfer(self, work: Callable[[], None], name: str, timeout: float) -> None:
        running = self._up
        try:
            work()
        except (ShellTimeout, ShellGone) as error:
            raise self._trouble(running, f"copy of {name}", timeout, error) from error

    def _trouble(
        self, running: Running, what: str, timeout: float, error: ShellTimeout | ShellGone
    ) -> DevmodelError:
        """What a failure of the shell means for the VM."""
        if isinstance(error, ShellTimeout) and _answers(running):
            message = f"`{what}` did not end within {timeout:g} s"
            hint = "it was killed; --timeout gives it longer"
            return CommandTimeout(message, hint=hint, details=error.where)
        self._silent = True
        gone = isinstance(error, ShellGone)
        symptom = str(error) if gone else f"no end of `{what}` after {timeout:g} s"
        return explain(running.supervisor, symptom)


def _answers(running: Running) -> bool:
    """Whether the guest still runs commands."""
    if running.supervisor.state.exit_code is not None:
        return False
    try:
        return running.shell.run(["true"], timeout=ALIVE_SECONDS).exit_code == 0
    except (ShellGone, ShellTimeout):
        return False
