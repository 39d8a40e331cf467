"""Machines by the names that tests know them by, and the kernels that they need."""

import os

from devmodel.build import kernel
from devmodel.build.config import NAMED, KernelConfig
from devmodel.build.series import Kind
from devmodel.machine import MachineConfig

# Under the debug kernel everything is larger and slower.
DEBUG_MEMORY = 2 << 30
DEBUG_BOOT_SECONDS = 300
# This model is tested wherever its kernel is here; that the others work on it too, on request.
WITHOUT_ASKING = "cdm"


def load(name: str) -> MachineConfig:
    """The configuration "NAME", or "NAME@KERNEL": on a kernel of `devmodel kernels`.

    With DEVMODEL_ON=KERNEL all that name none are on that one.
    """
    name, _, kernel_name = name.partition("@")
    kernel_name = kernel_name or os.environ.get("DEVMODEL_ON", "")
    # A device that is lost stays so, unless a test is about its return.
    config = MachineConfig.load(name).model_copy(update={"restarts": 0})
    if not kernel_name:
        return config
    wanted = NAMED[kernel_name]
    if wanted.kind is Kind.DEBUG:
        update = {"memory": DEBUG_MEMORY, "boot_timeout": DEBUG_BOOT_SECONDS}
        config = config.model_copy(update=update)
    if config.kernel.cdm and not wanted.debug:
        wanted = KernelConfig(series=wanted.series, cdm=True)
    return config.model_copy(update={"kernel": wanted})


def missing_kernel(name: str) -> str | None:
    """The kernel of a configuration, if it is neither the default one nor asked for by name.

    None if the test is to run.
    """
    config = load(name).kernel
    if config == KernelConfig():
        return None
    label = name.partition("@")[2] or next(n for n, named in NAMED.items() if named == config)
    wanted = os.environ.get("DEVMODEL_KERNELS", "").split(",")
    wanted.append(os.environ.get("DEVMODEL_ON", ""))
    if "all" in wanted or label in wanted:
        return None
    if name == WITHOUT_ASKING and kernel.find(config) is not None:
        return None
    return label
