"""The seam: how a device reaches a guest, without a word of the transport.

::

    in the supervisor                                    in the agent
    Transport   what QEMU's machine is told
      │ endpoint()
    Endpoint    one device's memory and wires,
      │         and what QEMU is told of it
      │ wires()
    Wires       numbers of descriptors      ── JSON ──>  Wires
                                                           │ attach()
                                                         Attachment   memory, interrupts, a wait

Endpoints are the VM's: they outlive any agent. A transport implements the four; what it has to
serve while the VM runs is its endpoints' business, as long as they are open.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping

from devmodel.abi.registers import Vector
from devmodel.description import Strict
from devmodel.device.config import DeviceConfig
from devmodel.link import memory
from devmodel.link.memory import Bytes, Window


class Attachment(ABC):
    """What the device in this process is attached to."""

    def __init__(self, wires: "Wires") -> None:
        self.region: Bytes = wires.region.attach()
        """BAR 2"""
        self._hbm = wires.hbm
        self.hbm: Bytes | None = None if wires.hbm is None else wires.hbm.attach()
        self.peers: dict[int, Bytes] = {n: hbm.attach() for n, hbm in wires.peers.items()}
        """the HBM of other devices, by number"""

    def empty_hbm(self) -> None:
        """Forget all that the HBM holds, for everybody; it reads as zero then."""
        if self._hbm is not None:
            self._hbm.empty()

    @property
    @abstractmethod
    def peer(self) -> int:
        """What the driver rings the device by (DeviceRegs.peer)."""

    @property
    @abstractmethod
    def ram(self) -> list[tuple[int, Bytes]]:
        """Guest RAM: pieces, and the guest-physical addresses that they begin at."""

    @abstractmethod
    def interrupt(self, vector: Vector) -> None:
        """Interrupt the guest. Never blocks; an interrupt that is pending stays so."""

    @abstractmethod
    def wait(self, milliseconds: int) -> None:
        """Until the driver rings, time is up, or what `attach` was given to wake by is readable."""


class Wires(Strict, ABC):
    """What an agent is told of its endpoint. Descriptors are inherited, by the same numbers."""

    region: Window
    hbm: Window | None
    peers: dict[int, Window]

    @property
    def descriptors(self) -> set[int]:
        """All that the agent's process needs."""
        hbm = [] if self.hbm is None else [self.hbm]
        return {window.fd for window in (self.region, *hbm, *self.peers.values())}

    @abstractmethod
    def attach(self, wake: int) -> Attachment:
        """Map the memory. `wake` is a descriptor that ends a wait once it is readable."""


class Endpoint(ABC):
    """One device's side of the VM: its memory, its wires, and what QEMU is told of it."""

    def __init__(self, device: DeviceConfig, stack: contextlib.ExitStack) -> None:
        """Makes the memory of `device`; `stack` gets all that must be undone."""
        self.device = device
        region = memory.create("region", device.region_size)
        stack.callback(os.close, region)
        self._window = Window(fd=region, offset=0, size=device.region_size)
        self.region: Bytes = self._window.attach()
        """BAR 2, for the supervisor to look at the registers"""
        self.region_fd = region
        """its descriptor, for others to look: /proc/PID/fd/N of the process that holds the VM"""
        self.hbm: Window | None = None
        if device.hbm_offset:
            self.hbm = Window(fd=region, offset=device.hbm_offset, size=device.hbm_size)
        elif device.hbm_size:
            hbm = memory.create("hbm", device.hbm_size)
            stack.callback(os.close, hbm)
            self.hbm = Window(fd=hbm, offset=0, size=device.hbm_size)

    @property
    @abstractmethod
    def arguments(self) -> list[str]:
        """QEMU's, for this device."""

    @property
    @abstractmethod
    def descriptors(self) -> tuple[int, ...]:
        """Those that the arguments name, for QEMU to inherit."""

    @abstractmethod
    def handed_over(self) -> None:
        """QEMU has its descriptors: let go of those that are QEMU's alone."""

    @abstractmethod
    def wires(self, peers: Mapping[int, Window]) -> Wires:
        """For an agent that is to play this device beside `peers`: the HBM of others, by number."""

    @abstractmethod
    def alert(self) -> None:
        """Raise every interrupt, so that the driver looks at the registers."""


class Transport(ABC):
    """A way for devices to reach a guest."""

    @property
    @abstractmethod
    def machine_properties(self) -> tuple[str, ...]:
        """What QEMU's `-machine` must have for its sake, each as NAME=VALUE."""

    @abstractmethod
    def endpoint(
        self, number: int, device: DeviceConfig, ram: Window
    ) -> contextlib.AbstractContextManager[Endpoint]:
        """The endpoint of the device `number`. `ram` is all of the guest's, as QEMU has it."""

    @abstractmethod
    def placeholder(self, number: int, device: DeviceConfig) -> list[str]:
        """QEMU's arguments for a device that nobody plays: they name no descriptor."""
