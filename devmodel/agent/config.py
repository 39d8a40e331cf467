"""What a supervisor tells an agent: numbers of inherited descriptors, and the device to be."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from devmodel.link.rammap import RamMap

READY = "ready"
REFUSED = "refused: "
"""The agent's one line of report: the device is there; or the user's mistake."""
LONGEST_REPORT = 4096
"""Bytes: a pipe takes and gives so many at once."""


@dataclass(frozen=True)
class Peer:
    """The HBM of another device: `size` bytes at `offset` of an inherited descriptor."""

    number: int
    fd: int
    offset: int
    size: int


@dataclass(frozen=True)
class AgentConfig:
    """Everything an agent process needs. Sizes in bytes; `*_fd` are inherited descriptors."""

    name: str
    parent: int
    ram_fd: int
    region_fd: int
    doorbell_fds: tuple[int, ...]
    """eventfds that the guest rings"""
    interrupt_fds: tuple[int, ...]
    """eventfds that raise the guest's interrupts, by Vector"""
    hbm_fd: int | None
    """HBM that is not in BAR 2; None if there is none, or if it is in the region"""
    ram: RamMap
    model: str
    hbm_size: int
    hbm_offset: int
    page_shift: int
    peer: int
    generation: int
    report_fd: int
    """a pipe for the agent's one line, READY or REFUSED and why"""
    number: int = 0
    node: int = 0
    """NUMA node that the HBM is to become; 0 for none"""
    peers: tuple[Peer, ...] = ()
    programs: tuple[str, ...] = ()
    """paths of files with device programs"""
    trace: str = ""
    """path of the file that the trace goes to; empty: none"""
    faults: dict[str, int] = field(default_factory=dict)
    """mistakes to make, by name (devmodel.device.faults)"""
    verbose: bool = False

    def to_json(self) -> str:
        """For the command line; `from_json` reads it."""
        return json.dumps({**asdict(self), "ram": self.ram.to_json()})

    @classmethod
    def from_json(cls, text: str) -> "AgentConfig":
        """The reverse of `to_json`. TypeError or ValueError if it is something else."""
        data: dict[str, Any] = json.loads(text)
        data["ram"] = RamMap.from_json(data["ram"])
        for name in ("doorbell_fds", "interrupt_fds", "programs"):
            data[name] = tuple(data[name])
        data["peers"] = tuple(Peer(**peer) for peer in data["peers"])
        return cls(**data)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them, to be passed on to the process."""
        hbm = () if self.hbm_fd is None else (self.hbm_fd,)
        peers = tuple({peer.fd for peer in self.peers})
        memory = (self.ram_fd, self.region_fd, *hbm, *peers)
        return (*memory, *self.doorbell_fds, *self.interrupt_fds, self.report_fd)
