# SPDX-License-Identifier: MIT
"""libdevmodel for Python: device programs over this process's own addresses.

    from libdevmodel import Device, Memory

    with Device() as device:
        memory = Memory(1 << 20)
        words = memory.view.cast("Q")
        device.run("fill", memory, len(words), 42)
        assert set(words) == {42}

Copy this folder into a guest that has Python 3.8 or newer; it needs nothing but the standard
library. What the functions do is what those of libdevmodel.h do; what fails is an exception.
"""

from libdevmodel.abi import (
    RISING,
    Access,
    Info,
    Migrate,
    Model,
    PageOutcome,
    PageState,
    Place,
    Policy,
    Stats,
    Status,
    Target,
    Wait,
)
from libdevmodel.device import Device, ProgramFailed, place
from libdevmodel.memory import Memory, float_bits

__all__ = [
    "RISING",
    "Access",
    "Device",
    "Info",
    "Memory",
    "Migrate",
    "Model",
    "PageOutcome",
    "PageState",
    "Place",
    "Policy",
    "ProgramFailed",
    "Stats",
    "Status",
    "Target",
    "Wait",
    "float_bits",
    "place",
]
