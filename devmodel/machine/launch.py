"""From a configuration to a guest that answers: the steps, and what each failure is called."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from devmodel import link
from devmodel.agent.process import trace_file
from devmodel.build import kconfig
from devmodel.build.guest import Built
from devmodel.errors import BootTimeout, ConfigError, DevmodelError, HostNotReady, LaunchFailed
from devmodel.link import memory
from devmodel.link.memory import Window
from devmodel.machine import console as consoles
from devmodel.machine import ending, personal, qemu, rundir, shares, virtiofs
from devmodel.machine.accel import Accelerator
from devmodel.machine.config import MachineConfig
from devmodel.machine.console import Console
from devmodel.machine.keys import KeyPair
from devmodel.machine.rundir import RunDir, VmInfo
from devmodel.machine.shell import GuestShell, ShellGone
from devmodel.machine.supervisor import Plan, Supervisor
from devmodel.progress import Reporter

PORT_SECONDS = 15.0
END_SECONDS = 3.0
# sun_path has 108 bytes, of which the last one is 0.
SOCKET_PATH = 107
# What QEMU says of a port that another has.
PORT_TAKEN = "Could not set up host forwarding rule"


@dataclass(frozen=True)
class Options:
    """What a command line may add to a configuration."""

    append: tuple[str, ...] = ()
    qemu: tuple[str, ...] = ()
    gdb: bool = False
    echo: Callable[[str], None] | None = None
    """gets every line of the console"""
    trace: Path | None = None
    """folder for the devices' traces; they are kept where the configuration says `trace: true`,
    in the VM's folder, too"""
    keeper: bool = False
    """this process is a keeper (cli/keeper.py): it is there for the VM alone"""


@dataclass
class Running:
    """The parts of a VM that is up."""

    folder: RunDir
    info: VmInfo
    supervisor: Supervisor
    shell: GuestShell
    ready_seconds: float
    """from the start of QEMU to a guest that answers"""


def launch(
    config: MachineConfig,
    options: Options,
    accelerator: Accelerator,
    built: Built,
    reporter: Reporter,
    stack: contextlib.ExitStack,
    begun: Callable[[Supervisor], None] = lambda _: None,
) -> Running:
    """Start agents and QEMU and wait for the guest. `stack` gets all that must be undone.

    `begun` gets who owns the processes, before there are any.

    LaunchFailed, BootTimeout, or the GuestError that explains a kernel that died on its way up.
    """
    folder = RunDir.claim(config.name)
    stack.callback(folder.close)
    login, host = KeyPair.generate(), KeyPair.generate()
    folder.write_key(login.private)
    info = VmInfo(
        folder.name,
        os.getpid(),
        "starting",
        host_key=host.public.decode(),
        config=config.model_dump_json(),
        kernel=built.kernel.release,
        accelerator=accelerator.name,
        qemu=".".join(map(str, built.emulator.version)),
        started=time.time(),
        keeper=options.keeper,
    )
    folder.write(info)
    stack.push(lambda _, error, __: _keep_cause(folder, info, error))
    folders = shares.of_machine(config.root, built.root, config.shares)
    kind = ""
    if folders:
        kind = kconfig.sharing(built.kernel.options, layered=built.root is not None)
    initrd = _initrd(built.image, personal.pack(login, host, folders, folder.name, kind=kind))
    stack.callback(os.close, initrd)
    served = [virtiofs.serve(share, built.tools) for share in folders if kind == "virtiofs"]
    for end in served:
        stack.callback(end.close)
    boot = qemu.Boot(
        built.emulator,
        built.kernel.image,
        Path(f"/proc/self/fd/{initrd}"),
        options.append,
        _gdb(folder) if options.gdb else None,
        options.qemu,
    )
    ram = memory.create(f"ram-{folder.name}", config.memory)
    stack.callback(os.close, ram)
    transport = link.DEFAULT
    window = Window(fd=ram, offset=0, size=config.memory)
    endpoints = [
        stack.enter_context(transport.endpoint(number, device, window))
        for number, device in enumerate(config.devices)
    ]

    def command(qmp: int, console: int) -> list[str]:
        ends = tuple(share.qemu.fileno() for share in served)
        fds = qemu.Descriptors(ram, qmp, console, ends)
        line = qemu.live(config, accelerator, boot, fds, transport, endpoints, folders)
        folder.write_command(line)
        return line

    given = [fd for endpoint in endpoints for fd in endpoint.descriptors]
    plan = Plan(
        folder.name,
        command,
        folder.path,
        files=(ram, initrd, *given, *(share.qemu.fileno() for share in served)),
        servers=tuple(share.server for share in served),
        trace=_trace(config, options, folder.path),
        # A trace tells of one life of a device.
        restarts=0 if config.trace or options.trace else config.restarts,
        run=not options.gdb,
    )
    _announce(folder.name, config, accelerator, built, reporter)
    begin = time.monotonic()
    with rundir.explained(folder.path):
        console = Console(folder.path / "console.log", options.echo)
    supervisor = Supervisor(plan, endpoints, console)
    stack.callback(supervisor.close)
    begun(supervisor)
    with _told(supervisor, folder.path):
        supervisor.start()
    if boot.gdb is not None:
        vmlinux = [] if built.kernel.vmlinux is None else [str(built.kernel.vmlinux)]
        words = ["gdb", *vmlinux, "-ex", f"target remote {boot.gdb}", "-ex", "continue"]
        reporter.note(f"waiting for a debugger: {shlex.join(words)}")
    limit = None if options.gdb else float(config.boot_timeout)
    _await_ready(supervisor, folder.path, limit)
    with _told(supervisor, folder.path):
        port = supervisor.call(supervisor.monitor.ssh_port(), PORT_SECONDS)
    shell = GuestShell(port, login.private, host.public)
    try:
        shell.connect()
    except ShellGone as error:
        raise explain(supervisor, str(error)) from error
    regions = tuple(endpoint.region_fd for endpoint in endpoints)
    info = replace(info, state="running", port=port, regions=regions)
    folder.write(info)
    seconds = time.monotonic() - begin
    for note in supervisor.console.notes:
        reporter.note(f"{folder.name}: guest: {note}")
    reporter.note(f"{folder.name}: ready after {seconds:.1f} s")
    return Running(folder, info, supervisor, shell, seconds)


def _keep_cause(folder: RunDir, info: VmInfo, error: BaseException | None) -> None:
    """Called at the end, whatever it is: a VM that never came up says why."""
    if error is not None:
        # A disk that is full must not hide what happened before.
        with contextlib.suppress(HostNotReady):
            folder.write(info.ended(error))


def explain(supervisor: Supervisor, symptom: str) -> DevmodelError:
    """The error for a guest that does not answer, after a moment for QEMU to end."""
    state = supervisor.state
    supervisor.wait_for(
        lambda: state.exit_code is not None and supervisor.console.closed, END_SECONDS
    )
    how = None if state.exit_code is None else f"QEMU {ended(state.exit_code)}"
    return ending.explain(symptom, supervisor.console.path, ending=how, lost=state.lost_devices)


def ended(code: int) -> str:
    """An exit status in words."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


def _initrd(image: Path, own: bytes) -> int:
    """A memfd with the shared image and this VM's own archive behind it: QEMU takes one file."""
    fd = os.memfd_create("devmodel-initrd", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(image.read_bytes())
        file.write(own)
    return fd


def _announce(
    name: str,
    config: MachineConfig,
    accelerator: Accelerator,
    built: Built,
    reporter: Reporter,
) -> None:
    devices = ", ".join(device.model for device in config.devices) or "no device"
    reporter.note(
        f"{name}: starting {built.kernel.release} with {devices}, "
        f"{qemu.describe_memory(config)}, {accelerator.name} ({accelerator.reason})"
    )


def _gdb(folder: RunDir) -> Path:
    """The debugger's socket. ConfigError if its path is longer than that of a socket may be."""
    if len(os.fsencode(folder.gdb)) > SOCKET_PATH:
        raise ConfigError(
            f"--gdb: {folder.gdb} is too long for a socket",
            hint="set DEVMODEL_STATE to a folder with a shorter path",
        )
    return folder.gdb


def _await_ready(supervisor: Supervisor, folder: Path, limit: float | None) -> None:
    state, console = supervisor.state, supervisor.console

    def settled() -> bool:
        return console.ready or state.exit_code is not None or bool(state.lost_devices)

    done = supervisor.wait_for(settled, limit)
    if console.ready:
        return
    if not done:
        raise BootTimeout(
            f"the guest was not ready after {limit:.0f} s",
            hint=f"see {console.path}, or raise boot_timeout",
            details=consoles.tail(console.path),
        )
    if state.lost_devices:
        raise _failed(supervisor, folder, "a device was lost", "")
    error = explain(supervisor, "the guest ended while it booted")
    if consoles.worst(console.events) is not None:
        raise error
    raise _failed(supervisor, folder, "QEMU ended while the guest booted", error.details)


@contextlib.contextmanager
def _told(supervisor: Supervisor, folder: Path) -> Iterator[None]:
    """What fails while it is entered is told with what the processes have to say."""
    try:
        yield
    except LaunchFailed as error:
        raise _failed(supervisor, folder, error.message, error.details) from error
    except TimeoutError as error:
        message = "the guest's processes did not answer in time"
        raise _failed(supervisor, folder, message, "") from error


def _failed(supervisor: Supervisor, folder: Path, message: str, details: str) -> LaunchFailed:
    """With cause, exit code and output of whatever ended."""
    for number, how in supervisor.state.lost_devices.items():
        log = supervisor.agents[number].log
        return LaunchFailed(
            f"the agent of device {number} {how}",
            hint=f"its log is {log}",
            details=consoles.tail(log),
        )
    log = folder / "qemu.log"
    # A connection breaks a moment before its process has ended.
    state = supervisor.state
    if supervisor.process is not None:
        supervisor.wait_for(lambda: state.exit_code is not None, END_SECONDS)
    code = state.exit_code
    output = consoles.tail(log)
    if code is not None:
        said = output.splitlines()[-1:] or ["it said nothing"]
        details = f"{message}\n{details}"
        message = f"QEMU {ended(code)}: {said[0]}"
        if PORT_TAKEN in said[0]:
            return LaunchFailed(message, hint="is that port in use? name another", details=details)
    return LaunchFailed(
        message,
        hint=f"logs are in {folder}",
        details="\n".join(part for part in (output, details) if part),
    )


def _trace(config: MachineConfig, options: Options, folder: Path) -> Path | None:
    """The folder that the devices' traces go to; None for no traces."""
    if options.trace is None:
        return folder if config.trace else None
    try:
        options.trace.mkdir(parents=True, exist_ok=True)
        for old in options.trace.glob("device*.trace"):
            old.unlink()
        for number in range(len(config.devices)):
            (options.trace / trace_file(number)).touch()
    except OSError as error:
        raise ConfigError(
            f"--trace {options.trace}: {error.strerror}", hint="name a folder for the traces"
        ) from error
    return options.trace
