"""Devices as QEMU's `ivshmem-doorbell`: shared memory and eventfds, whatever QEMU's age.

::

    BAR 2        the region's memfd, the HBM in it where the CPU reaches it
    doorbells    eventfds that the guest rings through BAR 0, one a vector; any means "look"
    interrupts   eventfds that become MSI-X, one a vector
    guest RAM    the file that QEMU has, laid out as rammap.py says: QEMU is told, and never tells
    QEMU         finds all of it in a greeting that waits in its socket (greeting.py)

QEMU's peer is the eventfds, whoever reads them: another agent needs no new greeting.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping

from devmodel.abi.registers import VECTORS, Vector
from devmodel.device.config import DeviceConfig
from devmodel.link import doorbell, greeting, rammap
from devmodel.link.doorbell import Waiter
from devmodel.link.interface import Attachment, Endpoint, Transport, Wires
from devmodel.link.memory import Bytes, Window


class IvshmemAttachment(Attachment):
    """Eventfds, and the RAM file."""

    peer = greeting.AGENT_PEER

    def __init__(self, wires: "IvshmemWires", wake: int) -> None:
        super().__init__(wires)
        self._ram = wires.ram
        self._interrupts = wires.interrupts
        self._waiter = Waiter(wires.doorbells, wake)

    @property
    def ram(self) -> list[tuple[int, Bytes]]:
        file = self._ram.attach()
        return [
            (piece.start, file[piece.offset : piece.offset + piece.length])
            for piece in rammap.q35(self._ram.size)
        ]

    def interrupt(self, vector: Vector) -> None:
        doorbell.ring(self._interrupts[vector])

    def wait(self, milliseconds: int) -> None:
        self._waiter.wait(milliseconds)


class IvshmemWires(Wires):
    """Eventfds, each way one a vector, and the RAM file."""

    ram: Window
    doorbells: tuple[int, ...]
    interrupts: tuple[int, ...]

    @property
    def descriptors(self) -> set[int]:
        return super().descriptors | {self.ram.fd, *self.doorbells, *self.interrupts}

    def attach(self, wake: int) -> Attachment:
        return IvshmemAttachment(self, wake)


class IvshmemEndpoint(Endpoint):
    """Eventfds, and a socket with the greeting in it."""

    def __init__(
        self, number: int, device: DeviceConfig, ram: Window, stack: contextlib.ExitStack
    ) -> None:
        super().__init__(device, stack)
        self._number = number
        self.ram = ram
        self.doorbells = doorbell.create(VECTORS)
        self.interrupts = doorbell.create(VECTORS)
        for fd in (*self.doorbells, *self.interrupts):
            stack.callback(os.close, fd)
        server, self._guest = greeting.serve(self._window.fd, self.doorbells, self.interrupts)
        stack.callback(server.close)
        stack.callback(self._guest.close)

    @property
    def arguments(self) -> list[str]:
        number = self._number
        return [
            "-chardev",
            f"socket,id=link{number},fd={self._guest.fileno()}",
            "-device",
            f"ivshmem-doorbell,id=dm{number},chardev=link{number},vectors={VECTORS}",
        ]

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self._guest.fileno(),)

    def handed_over(self) -> None:
        self._guest.close()

    def wires(self, peers: Mapping[int, Window]) -> Wires:
        return IvshmemWires(
            region=self._window,
            hbm=self.hbm,
            peers=dict(peers),
            ram=self.ram,
            doorbells=tuple(self.doorbells),
            interrupts=tuple(self.interrupts),
        )

    def alert(self) -> None:
        for fd in self.interrupts:
            doorbell.ring(fd)


class Ivshmem(Transport):
    """The guest's RAM lies where the command line puts it."""

    machine_properties = (f"max-ram-below-4g={rammap.LOW_LIMIT}",)

    @contextlib.contextmanager
    def endpoint(self, number: int, device: DeviceConfig, ram: Window) -> Iterator[Endpoint]:
        with contextlib.ExitStack() as stack:
            yield IvshmemEndpoint(number, device, ram, stack)

    def placeholder(self, number: int, device: DeviceConfig) -> list[str]:
        """BAR 2 is there, all zeros."""
        return [
            "-object",
            f"memory-backend-memfd,id=bar{number},size={device.region_size},share=on",
            "-device",
            f"ivshmem-plain,id=dm{number},memdev=bar{number}",
        ]
