"""Machines by the names that tests know them by."""

import os

import pytest

from devmodel.build import kernel
from devmodel.machine import MachineConfig

# Under the debug kernel everything is larger and slower.
DEBUG_MEMORY = 2 << 30
DEBUG_BOOT_SECONDS = 300


def load(name: str) -> MachineConfig:
    """The configuration "NAME", or "NAME@KERNEL": on a kernel series, or "cdm" or "debug"."""
    name, _, kernel_name = name.partition("@")
    config = MachineConfig.load(name)
    if kernel_name == "debug":
        update = {"memory": DEBUG_MEMORY, "boot_timeout": DEBUG_BOOT_SECONDS}
        config = config.model_copy(update=update)
    if not kernel_name:
        return config
    own = {kernel_name: True} if kernel_name in ("cdm", "debug") else {"series": kernel_name}
    return config.model_copy(update={"kernel": config.kernel.model_copy(update=own)})


def skip_unless_wanted(name: str) -> None:
    """Skip a test on a kernel that would have to be built first, unless it is asked for by name.

    The debug kernel is slow, so tests on it have to be asked for even where it is built.
    """
    kernel_name = name.partition("@")[2]
    wanted = os.environ.get("DEVMODEL_KERNELS", "").split(",")
    if "all" in wanted or kernel_name in wanted:
        return
    if kernel_name == "debug" or kernel.find(load(name).kernel) is None:
        pytest.skip(f"not asked for: make test KERNELS={kernel_name} (or KERNELS=all)")
