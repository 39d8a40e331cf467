"""``python -m devmodel.cli.keeper``: the process behind `devmodel start` that holds a VM.

Gets the configuration as JSON on stdin. Progress goes to stderr as it comes; when the VM is
ready, or cannot be, one JSON object goes to stdout: {"name"} or {"error", "exit_code"}. After
that it speaks to nobody: SIGTERM ends the VM, and vm.json says how it goes. If by then nobody
listens any more, the VM ends too: nobody wants it.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from devmodel.cli import output
from devmodel.errors import DevmodelError, GuestError, LaunchFailed
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.machine.machine import Machine

# Nothing is missed by this: QEMU's end and a device's wake the wait at once.
LOOK_SECONDS = 3600.0


class _Stopped(SystemExit):
    """SIGTERM came."""


def _stop(*_: object) -> None:
    # Only once: a second signal must not interrupt the clean end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


class _NobodyListens(LaunchFailed):
    """Whoever started this process is gone."""


def main() -> int:
    """0 after a SIGTERM, else the exit code of what ended the VM."""
    try:
        return _hold()
    except _NobodyListens as error:
        return int(error.exit_code)


def _hold() -> int:
    request = json.load(sys.stdin)
    config = MachineConfig.model_validate(request["config"])
    options = Options(
        append=tuple(request["append"]),
        qemu=tuple(request["qemu"]),
        trace=Path(request["trace"]) if request["trace"] else None,
        keeper=True,
    )
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    machine = Machine(config, reporter=output.reporter(), options=options)
    try:
        with machine as vm:
            _say({"name": vm.name})
            _detach(vm.folder / "keeper.log")
            # Leaving the VM's block then checks what the kernel had to say.
            with contextlib.suppress(_Stopped):
                _keep(vm)
    except _Stopped:
        return 0  # while it still started
    except _NobodyListens:
        raise
    except DevmodelError as error:
        if not isinstance(error, GuestError):
            _say({"error": str(error), "details": error.details, "exit_code": error.exit_code})
        return int(error.exit_code)
    return 0


def _keep(vm: Machine) -> None:
    """Hold the VM until it ends, keeping vm.json true. Ends by an exception only."""
    while True:
        if vm.wait_change(LOOK_SECONDS):
            if not vm.alive:
                vm.check()
            vm.record()


def _say(message: dict[str, object]) -> None:
    try:
        # Not by print, which would try again at the end.
        os.write(1, f"{json.dumps(message)}\n".encode())
    except BrokenPipeError as error:
        raise _NobodyListens("whoever started it is gone") from error


def _detach(log: Path) -> None:
    """Let go of the terminal and of whoever waits for our stdout."""
    with log.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())
