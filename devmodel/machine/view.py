"""What a running VM's devices count, seen from another process: nobody in the guest is asked.

The process that holds a VM has the shared region of each device open (VmInfo.regions), and who may
look into that process maps it, to read only: the device's counters, the indices of the rings, and
one word of the driver's. All of it can be written by the guest. So every word is a number whatever
it says, an index that cannot be is None, and no text and no address is taken from there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.registers import (
    CONTEXT_ENTRIES,
    CONTEXT_PAGE,
    CONTROL_REGION,
    COUNTER_PAGE,
    DEVICE_PAGE,
    DRIVER_PAGE,
    RING_BASE,
    DeviceRegs,
    DeviceState,
    DriverRegs,
)
from devmodel.abi.rings import RingHeader
from devmodel.device.config import DeviceConfig
from devmodel.device.hardware import USUAL
from devmodel.errors import HostNotReady
from devmodel.machine.rundir import VmInfo

LINK = "/memfd:devmodel-region"
MASK = (1 << 64) - 1
RINGS = USUAL.rings(trace=False)


@dataclass(frozen=True)
class Sample:
    """A device at one moment."""

    seconds: float
    """of the monotonic clock"""
    state: DeviceState | None
    """None: it says something that is no state"""
    generation: int
    epoch: int
    """of the driver's last reset, with which the counters began"""
    counters: DeviceCounters
    contexts: dict[int, ContextCounters]
    """by their ids"""
    hbm_in_use: int
    """bytes, as the driver tells; it does not of a NUMA node's"""
    rings: dict[str, int | None]
    """messages that wait; None where the indices cannot be"""


class View:
    """One device of a VM, as long as it is entered. HostNotReady if it cannot be looked at."""

    def __init__(self, info: VmInfo, number: int, config: DeviceConfig) -> None:
        self.vm = info.name
        self.number = number
        self.config = config
        try:
            path = f"/proc/{info.pid}/fd/{info.regions[number]}"
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            with contextlib.closing(os.fdopen(fd, "rb")) as file:
                # The process may be another by now, or have closed it.
                name = Path(f"/proc/self/fd/{file.fileno()}").readlink()
                if not str(name).startswith(LINK):
                    raise FileNotFoundError(2, "no device's memory")
                self._map = mmap.mmap(file.fileno(), CONTROL_REGION, prot=mmap.PROT_READ)
        except (OSError, ValueError, IndexError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise HostNotReady(
                f"{info.name}: device {number} cannot be looked at: {why}",
                hint="look as the user who started it",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()

    def sample(self) -> Sample:
        """How it stands now."""
        # One copy: what is looked at is not written meanwhile, and the map can be closed.
        head = self._map[:RING_BASE]
        now = time.monotonic()
        regs = DeviceRegs.unpack(head[DEVICE_PAGE : DEVICE_PAGE + DeviceRegs.SIZE])
        driver = DriverRegs.unpack(head[DRIVER_PAGE : DRIVER_PAGE + DriverRegs.SIZE])
        size = ContextCounters.SIZE
        found = (
            ContextCounters.unpack(head[at : at + size])
            for at in range(CONTEXT_PAGE, CONTEXT_PAGE + CONTEXT_ENTRIES * size, size)
        )
        known = set(DeviceState)
        return Sample(
            now,
            DeviceState(regs.state) if regs.state in known else None,
            regs.generation,
            regs.reset_ack,
            DeviceCounters.unpack(head[COUNTER_PAGE : COUNTER_PAGE + DeviceCounters.SIZE]),
            {context.ctx: context for context in found if context.ctx},
            min(driver.hbm_in_use, self.config.hbm_size),
            {name: self._depth(ring.offset, ring.entries) for name, ring in RINGS.items()},
        )

    def _depth(self, offset: int, entries: int) -> int | None:
        header = RingHeader.unpack(self._map[offset : offset + RingHeader.SIZE])
        waiting = (header.produced - header.consumed) & MASK
        return waiting if waiting <= entries else None


def rise(old: int, new: int) -> int:
    """How much a counter rose. What began anew, or was scribbled on, counts from 0."""
    return new - old if new >= old else new
