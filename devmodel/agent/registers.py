"""The supervisor's one word in a device's registers: that its agent is gone."""

import numpy as np

from devmodel.abi.registers import DEVICE_PAGE, DeviceRegs, DeviceState
from devmodel.link.memory import Bytes


def state(region: Bytes) -> DeviceState:
    """DeviceRegs.state; LOST for a value that is none."""
    value = int(_word(region, "state"))
    return DeviceState(value) if value in set(DeviceState) else DeviceState.LOST


def mark_lost(region: Bytes) -> None:
    """Say LOST where the driver looks. One aligned 32-bit store, never torn."""
    offset = DEVICE_PAGE + DeviceRegs.offset("state")
    region[offset : offset + 4].view("<u4")[0] = int(DeviceState.LOST)


def _word(region: Bytes, name: str) -> np.uint32:
    offset = DEVICE_PAGE + DeviceRegs.offset(name)
    word: np.uint32 = region[offset : offset + 4].view("<u4")[0]
    return word
