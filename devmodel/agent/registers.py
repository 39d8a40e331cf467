"""What the supervisor reads in a device's registers, and its one word: the agent has ended."""

import numpy as np

from devmodel.abi.registers import (
    DEVICE_PAGE,
    DRIVER_PAGE,
    DeviceRegs,
    DeviceState,
    DriverRegs,
)
from devmodel.link.memory import Bytes


def state(region: Bytes) -> DeviceState:
    """DeviceRegs.state; LOST for a value that is none."""
    value = int(_word(region, "state"))
    return DeviceState(value) if value in set(DeviceState) else DeviceState.LOST


def mark(region: Bytes, state: DeviceState) -> None:
    """Say it where the driver looks. One aligned 32-bit store, never torn."""
    offset = DEVICE_PAGE + DeviceRegs.offset("state")
    region[offset : offset + 4].view("<u4")[0] = int(state)


def unanswered_reset(region: Bytes) -> int | None:
    """The epoch of a reset that the driver has asked for and the device has not done."""
    words = region[: DRIVER_PAGE + DriverRegs.SIZE].view("<u8")
    epoch = int(words[(DRIVER_PAGE + DriverRegs.offset("epoch")) // 8])
    done = int(words[(DEVICE_PAGE + DeviceRegs.offset("reset_ack")) // 8])
    return None if epoch == done else epoch


def _word(region: Bytes, name: str) -> np.uint32:
    offset = DEVICE_PAGE + DeviceRegs.offset(name)
    word: np.uint32 = region[offset : offset + 4].view("<u4")[0]
    return word
