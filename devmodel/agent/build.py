"""From a configuration and what it is attached to to a device."""

import os
from collections.abc import Iterable
from pathlib import Path

from devmodel.agent.config import AgentConfig
from devmodel.device import Device, Identity
from devmodel.device.programs import BUILTIN, Program, ProgramError, load_programs
from devmodel.device.trace import Sink
from devmodel.link import Attachment


def build(config: AgentConfig, attached: Attachment) -> Device:
    """The device that `config` describes, its registers written to the shared region."""
    lost = config.generation > 1 and not config.device.hbm_survives
    return Device(
        config.device,
        attached.region.data,
        attached.ram,
        attached.hbm,
        attached.interrupt,
        _programs(config.device.programs),
        attached.peers,
        None if config.trace is None else _trace(config.trace, config.generation),
        Identity(config.number, config.generation, attached.peer),
        empty_hbm=attached.empty_hbm if lost else None,
    )


def _trace(path: Path, generation: int) -> Sink:
    """Where the trace goes. A device that was started again goes on in the same file."""
    again = os.O_APPEND if generation > 1 else os.O_TRUNC
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | again, 0o644)

    def write(data: memoryview) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write


def _programs(files: Iterable[Path]) -> dict[str, Program]:
    """The built-in programs and those of the user's files; ProgramError if two have one name."""
    programs = dict(BUILTIN)
    for file in files:
        for name, program in load_programs(file).items():
            if name in programs:
                raise ProgramError(f"{file}: there is a program {name} already; rename yours")
            programs[name] = program
    return programs
