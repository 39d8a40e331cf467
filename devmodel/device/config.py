"""A device as it is described: from a machine's YAML to the device, the same object.

Beside that there is `Hardware`, of which all devices are made alike, and who a device is in its
machine and in its life, `Identity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field, StrictBool, StrictInt, model_validator

from devmodel import sizes
from devmodel.abi.registers import CONTROL_REGION, HBM_ALIGN, Model
from devmodel.description import Size, Strict
from devmodel.device.faults import NO_FAULTS, Faults

DEFAULT_HBM = 256 << 20
MAX_HBM = 64 << 30
# Memory fails in pieces of 4 KiB.
FAILING_SHIFT = 12
# A page of 2 MiB is the largest that a device maps.
HBM_STEP = 2 << 20
# CONFIG_NODES_SHIFT of guest/kernel/base.config allows 16.
MAX_NODE = 15


class DeviceModel(StrEnum):
    """Memory models that a device can be configured for."""

    MIRROR = "mirror"
    PRIVATE = "private"
    COHERENT = "coherent"
    NUMA = "numa"
    CDM = "cdm"

    @property
    def number(self) -> Model:
        """What the registers say."""
        return Model[self.name]

    @property
    def in_bar(self) -> bool:
        """Whether the HBM is a window of BAR 2, where the CPU reaches it."""
        return self in (DeviceModel.COHERENT, DeviceModel.NUMA, DeviceModel.CDM)

    @property
    def is_node(self) -> bool:
        """Whether the HBM becomes a NUMA node."""
        return self in (DeviceModel.NUMA, DeviceModel.CDM)


class DeviceConfig(Strict):
    """One device. `hbm` in bytes; `programs` are files; `ValueError` says what cannot be."""

    model: DeviceModel = DeviceModel.PRIVATE
    hbm: Size | None = Field(default=None, validate_default=False)
    hbm_survives: StrictBool = True
    node: StrictInt | None = None
    programs: tuple[Path, ...] = ()
    faults: Faults = NO_FAULTS

    @model_validator(mode="after")
    def _node_fits_model(self) -> DeviceConfig:
        if self.node is not None:
            if not self.model.is_node:
                raise ValueError(f"node: the memory of a {self.model} device is no NUMA node")
            if not 1 <= self.node <= MAX_NODE:
                raise ValueError(f"node: {self.node} is not possible; use 1 to {MAX_NODE}")
        return self

    @model_validator(mode="after")
    def _hbm_fits_model(self) -> DeviceConfig:
        if self.model is DeviceModel.MIRROR:
            if self.hbm:
                raise ValueError(
                    "hbm: a mirror device has no memory; remove hbm, or use model: private"
                )
            return self
        if self.hbm is not None:
            if not 0 < self.hbm <= MAX_HBM:
                raise ValueError(
                    f"hbm: {sizes.show(self.hbm)} is not possible; use 2M to {sizes.show(MAX_HBM)}"
                )
            align = HBM_ALIGN if self.model.in_bar else HBM_STEP
            if self.hbm % align:
                raise ValueError(
                    f"hbm: {sizes.show(self.hbm)} does not fit {self.model}; "
                    f"use a multiple of {sizes.show(align)}"
                )
        return self

    @model_validator(mode="after")
    def _loss_fits_model(self) -> DeviceConfig:
        if not self.hbm_survives and self.model not in (DeviceModel.PRIVATE, DeviceModel.COHERENT):
            raise ValueError(
                f"hbm_survives: only a private or coherent device can lose its HBM, not a "
                f"{self.model} one"
            )
        page = self.faults.failing_page
        if page and page << FAILING_SHIFT >= self.hbm_size:
            pages = self.hbm_size >> FAILING_SHIFT
            raise ValueError(f"faults: failing_page is {page}: this device has {pages} pages")
        return self

    @property
    def hbm_size(self) -> int:
        """Bytes of HBM; 0 for a mirror device."""
        if self.model is DeviceModel.MIRROR:
            return 0
        return DEFAULT_HBM if self.hbm is None else self.hbm

    @property
    def region_size(self) -> int:
        """Bytes of BAR 2: the control part, and the HBM too where the CPU can see it."""
        if not self.model.in_bar:
            return CONTROL_REGION
        return 1 << (HBM_ALIGN + self.hbm_size - 1).bit_length()

    @property
    def hbm_offset(self) -> int:
        """Where HBM begins in BAR 2; 0 if it is not there."""
        return HBM_ALIGN if self.model.in_bar else 0

    @property
    def numa_node(self) -> int:
        """The node that the HBM becomes; 0 if it becomes none."""
        return (self.node or 1) if self.model.is_node else 0


@dataclass(frozen=True)
class Identity:
    """Which device of its machine this is, and in which life.

    `generation` rises with each start; `peer` is what the driver names to ring this device.
    """

    number: int = 0
    generation: int = 1
    peer: int = 0


ALONE = Identity()
