"""From a configuration and inherited descriptors to a device."""

import os

from devmodel.abi.registers import Model, Vector
from devmodel.agent.config import AgentConfig
from devmodel.device.config import DeviceConfig
from devmodel.device.device import Device
from devmodel.device.faults import Faults
from devmodel.device.programs import BUILTIN, Program, ProgramError, load_programs
from devmodel.device.trace import Sink
from devmodel.link import doorbell, memory


def build(config: AgentConfig) -> Device:
    """The device that `config` describes, its registers written to the shared region."""
    region = memory.attach(config.region_fd)
    ram_file = memory.attach(config.ram_fd)
    ram = [
        (segment.start, ram_file[segment.offset : segment.offset + segment.length])
        for segment in config.ram.segments
    ]
    hbm: memory.Bytes | None = None
    if config.hbm_fd is not None:
        hbm = memory.attach(config.hbm_fd)
    elif config.hbm_size:
        hbm = region[config.hbm_offset : config.hbm_offset + config.hbm_size]

    def interrupt(vector: Vector) -> None:
        doorbell.ring(config.interrupt_fds[vector])

    return Device(
        DeviceConfig(
            model=Model[config.model.upper()],
            region_size=region.size,
            hbm_size=config.hbm_size,
            hbm_offset=config.hbm_offset,
            page_shift=config.page_shift,
            node=config.node,
            generation=config.generation,
            peer=config.peer,
            number=config.number,
            trace=bool(config.trace),
            faults=Faults(**config.faults),
        ),
        region.data,
        ram,
        hbm,
        interrupt,
        _programs(config.programs),
        {
            peer.number: memory.attach(peer.fd)[peer.offset : peer.offset + peer.size]
            for peer in config.peers
        },
        _trace(config) if config.trace else None,
    )


def _trace(config: AgentConfig) -> Sink:
    """Where the trace goes. A device that was started again goes on in the same file."""
    again = os.O_APPEND if config.generation > 1 else os.O_TRUNC
    fd = os.open(config.trace, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | again, 0o644)

    def write(data: memoryview) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write


def _programs(files: tuple[str, ...]) -> dict[str, Program]:
    """The built-in programs and those of the user's files; ProgramError if two have one name."""
    programs = dict(BUILTIN)
    for file in files:
        for name, program in load_programs(file).items():
            if name in programs:
                raise ProgramError(f"{file}: there is a program {name} already; rename yours")
            programs[name] = program
    return programs
