"""Starting and ending the keeper process of a VM (keeper.py), and asking how it is."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path

from devmodel import interpreter
from devmodel.errors import DevmodelError, ExitCode, LaunchFailed
from devmodel.machine import rundir
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.machine.rundir import VmInfo

STOP_SECONDS = 45.0
SETTLE_SECONDS = 5.0


def start(config: MachineConfig, options: Options) -> str:
    """Start a keeper and wait until its VM is ready; the VM's name. Raises what kept it."""
    request = {
        "config": json.loads(config.model_dump_json()),
        "append": options.append,
        "qemu": options.qemu,
        "trace": None if options.trace is None else str(options.trace),
    }
    keeper = subprocess.Popen(
        interpreter.command("devmodel.cli.keeper"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert keeper.stdin is not None and keeper.stdout is not None
    try:
        with keeper.stdin:
            json.dump(request, keeper.stdin)
        # The keeper limits each of its own steps; a build takes as long as it takes.
        line = keeper.stdout.readline()
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise
    if not line:
        raise LaunchFailed(f"the keeper of {config.name} ended with {keeper.wait()}")
    message = json.loads(line)
    if "error" in message:
        keeper.wait()
        error = DevmodelError(message["error"], details=message["details"])
        error.exit_code = ExitCode(message["exit_code"])
        raise error
    return str(message["name"])


def stop(folder: Path) -> VmInfo:
    """End the VM in `folder`, and wait for that; what vm.json says in the end."""
    info = rundir.read_info(folder)
    if info is not None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _signal_and_wait(info.pid, number, STOP_SECONDS):
                break
    return _look(folder)


def settled(folder: Path) -> VmInfo:
    """What vm.json says once a keeper that is about to notice an end has done so."""
    info = _look(folder)
    if info.state == "running":
        _signal_and_wait(info.pid, None, SETTLE_SECONDS)
    return _look(folder)


def _signal_and_wait(pid: int, number: signal.Signals | None, seconds: float) -> bool:
    """Whether the process is gone within `seconds`, after `number` if that is given."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if number is not None:
            signal.pidfd_send_signal(pidfd, number)
        return bool(select.select([pidfd], [], [], seconds)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(pidfd)


def _look(folder: Path) -> VmInfo:
    """vm.json, swept. LaunchFailed if there is none."""
    for path, info in rundir.everything():
        if path == folder:
            return info
    raise LaunchFailed(f"{folder} holds no VM")


def config_of(info: VmInfo) -> MachineConfig:
    """The configuration that a VM was started with."""
    return MachineConfig.model_validate_json(info.config)
