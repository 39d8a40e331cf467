"""Machines by the names that tests know them by."""

import os

import pytest

from devmodel.machine import MachineConfig, kernel


def load(name: str) -> MachineConfig:
    """The configuration "NAME", "NAME@SERIES" or "NAME@cdm" (on the kernel with the CDM patch)."""
    name, _, kernel_name = name.partition("@")
    config = MachineConfig.load(name)
    if not kernel_name:
        return config
    update = {"cdm": True} if kernel_name == "cdm" else {"series": kernel_name}
    own = config.kernel.model_copy(update=update)
    return config.model_copy(update={"kernel": own})


def skip_unless_built(config: MachineConfig) -> None:
    """Skip a test for a kernel that would have to be built first, unless that is wanted."""
    if os.environ.get("DEVMODEL_KERNELS") != "all" and kernel.find(config.kernel) is None:
        pytest.skip(f"{config.kernel} is not built; make test KERNELS=all builds it")
