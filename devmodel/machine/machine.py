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
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from devmodel.agent.process import DeviceShape, Endpoint
from devmodel.link.memory import Bytes
from devmodel.machine import accel, build, image, qemu
from devmodel.machine.config import DeviceConfig, MachineConfig
from devmodel.machine.console import Console, Event, Trouble
from devmodel.machine.errors import (
    BootTimeout,
    CommandTimeout,
    DeviceLost,
    DevmodelError,
    GuestError,
    GuestHang,
    GuestOops,
    GuestPanic,
    LaunchFailed,
    MachineLost,
)
from devmodel.machine.keys import KeyPair
from devmodel.machine.progress import Reporter
from devmodel.machine.rundir import RunDir, VmInfo
from devmodel.machine.shell import GuestShell, Result, ShellGone, ShellTimeout
from devmodel.machine.supervisor import Plan, Supervisor

COMMAND_SECONDS = 300.0
ALIVE_SECONDS = 10.0
DMESG_SECONDS = 15.0
END_SECONDS = 3.0


@dataclass(frozen=True)
class Options:
    """What a command line may add to a configuration."""

    append: tuple[str, ...] = ()
    qemu: tuple[str, ...] = ()
    gdb: bool = False
    echo: Callable[[str], None] | None = None
    """gets every line of the console"""


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
        self.ready_seconds = 0.0
        """from the start of QEMU to a guest that answers"""
        self._stack = contextlib.ExitStack()
        self._supervisor: Supervisor | None = None
        self._shell: GuestShell | None = None
        self._folder: RunDir | None = None
        self._info: VmInfo | None = None
        self._expected: list[str] = []
        self._expect_lost = False
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
        trouble = None
        if error is None:
            try:
                self.check()
            except GuestError as found:
                trouble = found
        self.close(str(error or trouble or ""))
        if trouble is not None:
            raise trouble

    def start(self) -> None:
        """Build, launch, and wait until the guest answers. LaunchFailed, BootTimeout and others."""
        if self._supervisor is not None:
            raise RuntimeError("this machine runs already")
        self.config.check_files()
        qemu.version()
        accelerator = accel.choose(self.config.accel)
        built = build.build(self.config.kernel, self.reporter)
        try:
            self._launch(accelerator, built)
        except BaseException as error:
            self.close(str(error))
            raise

    def _launch(self, accelerator: accel.Accelerator, built: build.Built) -> None:
        config = self.config
        folder = RunDir.claim(config.name)
        self._folder = folder
        self._stack.callback(folder.close)
        login, host = KeyPair.generate(), KeyPair.generate()
        folder.write_key(login.private)
        self._info = VmInfo(
            folder.name,
            os.getpid(),
            "starting",
            host_key=host.public.decode(),
            config=config.model_dump_json(),
            kernel=built.kernel.release,
            accelerator=accelerator.name,
            started=time.time(),
        )
        folder.write(self._info)
        shares = [
            (qemu.share_tag(number), str(share.guest), share.readonly)
            for number, share in enumerate(config.shares)
        ]
        # The kernel unpacks archives one after the other; QEMU takes one file.
        initrd = folder.path / "vm.cpio"
        own = image.personal(login, host, shares, folder.name)
        initrd.write_bytes(built.image.read_bytes() + own)
        boot = qemu.Boot(
            built.kernel.image, initrd, self.options.append, self.options.gdb, self.options.qemu
        )
        endpoints = []
        for device in config.devices:
            endpoint = Endpoint.create(_shape(device))
            self._stack.callback(endpoint.close)
            endpoints.append(endpoint)
        plan = Plan(
            folder.name,
            config.memory,
            lambda ram, qmp, console, links: qemu.live(
                config, accelerator, boot, qemu.Descriptors(ram, qmp, console, links)
            ),
            folder.path,
            run=not self.options.gdb,
        )
        devices = ", ".join(device.model for device in config.devices) or "no device"
        self.reporter.note(
            f"{folder.name}: starting {built.kernel.release} with {devices}, "
            f"{qemu.describe_memory(config)}, {accelerator.name} ({accelerator.reason})"
        )
        if self.options.gdb:
            self.reporter.note(
                f"waiting for a debugger: gdb {built.kernel.vmlinux} "
                f"-ex 'target remote :{qemu.GDB_PORT}' -ex continue"
            )
        console = Console(folder.path / "console.log", self.options.echo)
        begin = time.monotonic()
        supervisor = Supervisor(plan, endpoints, console)
        self._supervisor = supervisor
        self._stack.callback(supervisor.close)
        try:
            supervisor.start()
        except LaunchFailed as error:
            raise self._launch_error(str(error), error.details) from error
        self._await_ready(supervisor)
        port = supervisor.call(supervisor.monitor.ssh_port(), ALIVE_SECONDS)
        self._shell = GuestShell(port, login.private, host.public)
        try:
            self._shell.connect()
        except ShellGone as error:
            raise self._explain(str(error)) from error
        self.ready_seconds = time.monotonic() - begin
        self._info = replace(self._info, state="running", port=port)
        folder.write(self._info)
        for note in console.notes:
            self.reporter.note(f"{folder.name}: guest: {note}")
        self.reporter.note(f"{folder.name}: ready after {self.ready_seconds:.1f} s")

    def _await_ready(self, supervisor: Supervisor) -> None:
        state, console = supervisor.state, supervisor.console

        def settled() -> bool:
            return console.ready or state.exit_code is not None or bool(state.lost_devices)

        limit = None if self.options.gdb else float(self.config.boot_timeout)
        done = supervisor.wait_for(settled, limit)
        if console.ready:
            return
        if done and state.exit_code is None:
            raise self._launch_error("a device agent ended while the guest booted", "")
        if done:
            self._await_end(supervisor)
            if console.worst() is not None:
                raise self._explain("the guest ended while it booted")
            raise self._launch_error("QEMU ended while the guest booted", console.tail())
        raise BootTimeout(
            f"the guest was not ready after {limit:.0f} s",
            hint=f"see {console.path}, or raise boot_timeout",
            details=console.tail(),
        )

    def _launch_error(self, message: str, details: str) -> LaunchFailed:
        """With cause, exit code and output of whatever ended."""
        assert self._supervisor is not None
        supervisor = self._supervisor
        for number, ending in supervisor.state.lost_devices.items():
            log = supervisor.agents[number].log
            text = log.read_text(errors="replace").splitlines()[-15:]
            return LaunchFailed(
                f"the agent of device {number} {ending}",
                hint=f"its log is {log}",
                details="\n".join(text),
            )
        log = self.folder / "qemu.log"
        output = log.read_text(errors="replace").strip() if log.exists() else ""
        code = supervisor.process.poll() if supervisor.process else None
        if code is not None:
            message = f"{message} (exit code {code})"
        return LaunchFailed(
            message,
            hint=f"logs are in {self.folder}",
            details="\n".join(part for part in (output, details) if part),
        )

    def close(self, ending: str = "") -> None:
        """End the VM, whatever state it is in; logs stay. May be called again."""
        if self._folder is None:
            return
        folder, self._folder = self._folder, None
        if self._shell is not None and self.alive:
            with contextlib.suppress(ShellGone, ShellTimeout):
                self._dmesg = self._shell.run(["dmesg"], timeout=DMESG_SECONDS).stdout
                (folder.path / "dmesg").write_text(self._dmesg)
        if self._shell is not None:
            self._shell.close()
        try:
            if self._info is not None:
                folder.write(replace(self._info, state="ended", ending=ending))
        finally:
            self._stack.close()

    # --- what is known

    @property
    def folder(self) -> Path:
        """Where this VM's logs are."""
        if self._folder is None:
            raise RuntimeError("this machine is not running")
        return self._folder.path

    @property
    def name(self) -> str:
        """The VM's name, unique among those that run."""
        return self.folder.name

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        supervisor = self._supervisor
        return supervisor is not None and supervisor.state.exit_code is None

    @property
    def devices(self) -> list[Device]:
        """The devices, by number."""
        supervisor = self._running()
        return [
            Device(n, c, agent.endpoint.region, agent.log, agent.process.pid)
            for n, (c, agent) in enumerate(zip(self.config.devices, supervisor.agents, strict=True))
        ]

    @property
    def qemu_pid(self) -> int:
        """QEMU's process id."""
        process = self._running().process
        assert process is not None
        return process.pid

    @property
    def splats(self) -> list[Event]:
        """The kernel's complaints that nobody said to expect."""
        events = self._running().console.splats()
        return [e for e in events if not any(text in e.line for text in self._expected)]

    def expect(self, text: str) -> None:
        """Complaints of the kernel that contain `text` are part of the plan."""
        self._expected.append(text)

    def expect_device_lost(self) -> None:
        """Losing a device is part of the plan."""
        self._expect_lost = True

    def check(self) -> None:
        """Raise what is wrong with the VM, if anything is: a GuestError of the right kind."""
        supervisor = self._running()
        if supervisor.state.exit_code is not None:
            raise self._explain("QEMU ended")
        if supervisor.state.lost_devices and not self._expect_lost:
            raise self._device_lost()
        if splats := self.splats:
            raise GuestOops(
                f"the guest's kernel complained: {splats[0].line}",
                hint=f"see {supervisor.console.path}",
                details="\n".join(event.line for event in splats),
            )

    # --- work in the guest

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | str = b"",
        timeout: float = COMMAND_SECONDS,
        stdout: io.BufferedIOBase | None = None,
        stderr: io.BufferedIOBase | None = None,
    ) -> Result:
        """Run a command in the guest: a list of words, or a line for its shell.

        The command's own failure is in the result. GuestPanic, GuestOops, GuestHang or MachineLost
        if the guest did not survive it; CommandTimeout if only the command took too long. Output
        goes to `stdout` and `stderr` as it comes, if they are given.
        """
        try:
            return self.shell.run(
                command, stdin=stdin, timeout=timeout, stdout=stdout, stderr=stderr
            )
        except ShellTimeout as error:
            shown = command if isinstance(command, str) else " ".join(command)
            if self._answers():
                raise CommandTimeout(
                    f"`{shown}` did not end within {timeout:g} s", hint="it was killed"
                ) from error
            raise self._explain(f"no answer {timeout:g} s after `{shown}` began") from error
        except ShellGone as error:
            raise self._explain(str(error)) from error

    def put(self, source: Path, target: str, *, timeout: float = COMMAND_SECONDS) -> None:
        """Copy a file into the guest."""
        self._transfer(lambda: self.shell.put(source, target, timeout=timeout))

    def get(self, source: str, target: Path, *, timeout: float = COMMAND_SECONDS) -> None:
        """Copy a file out of the guest."""
        self._transfer(lambda: self.shell.get(source, target, timeout=timeout))

    def _transfer(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (ShellGone, ShellTimeout) as error:
            raise self._explain(f"copying failed: {error}") from error

    def dmesg(self) -> str:
        """The kernel's log; after the end, as it was then."""
        if self._folder is None:
            return self._dmesg
        return self.run(["dmesg"], timeout=DMESG_SECONDS).stdout

    @property
    def shell(self) -> GuestShell:
        """The guest's shell."""
        if self._shell is None:
            raise RuntimeError("this machine is not running")
        return self._shell

    def wait(self) -> None:
        """Until QEMU ends, however long that takes; then the GuestError that explains it."""
        supervisor = self._running()
        while not supervisor.wait_for(lambda: supervisor.state.exit_code is not None, 3600.0):
            pass
        raise self._explain("QEMU ended")

    # --- why something ended

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("this machine is not running")
        return self._supervisor

    def _answers(self) -> bool:
        """Whether the guest still runs commands."""
        if not self.alive:
            return False
        try:
            return self.shell.run(["true"], timeout=ALIVE_SECONDS).exit_code == 0
        except (ShellGone, ShellTimeout):
            return False

    def _await_end(self, supervisor: Supervisor) -> None:
        """Give QEMU a moment to end, and the console to be read to its end."""
        supervisor.wait_for(
            lambda: supervisor.state.exit_code is not None and supervisor.console.closed,
            END_SECONDS,
        )

    def _device_lost(self) -> DeviceLost:
        supervisor = self._running()
        number, ending = next(iter(supervisor.state.lost_devices.items()))
        return DeviceLost(
            f"the agent of device {number} {ending}",
            hint=f"its log is {supervisor.agents[number].log}",
        )

    def _explain(self, symptom: str) -> DevmodelError:
        """The error for a guest that does not answer: what the console says, else what is left."""
        supervisor = self._running()
        self._await_end(supervisor)
        console = supervisor.console
        event = console.worst()
        hint = f"see {console.path}"
        if event is not None:
            kind = GuestOops if event.trouble is Trouble.OOPS else GuestPanic
            return kind(event.line, hint=hint, details=console.tail())
        lost = ""
        for number, ending in supervisor.state.lost_devices.items():
            lost = f" (the agent of device {number} {ending})"
        if supervisor.state.exit_code is not None:
            code = supervisor.state.exit_code
            return MachineLost(
                f"{symptom}{lost}: QEMU ended with {code} and the console does not say why",
                hint=hint,
                details=console.tail(),
            )
        return GuestHang(
            f"{symptom}{lost}: the guest does not answer", hint=hint, details=console.tail()
        )


def _shape(device: DeviceConfig) -> DeviceShape:
    return DeviceShape(
        model=device.model.value,
        hbm_size=device.hbm_size,
        hbm_offset=device.hbm_offset,
        region_size=device.region_size,
        page_shift=device.page_shift,
        programs=tuple(str(path) for path in device.programs),
    )
