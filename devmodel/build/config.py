"""Which kernel a description asks for: the part of it that concerns builds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, field_validator, model_validator

from devmodel.build.series import DEFAULT, SERIES, known


class Strict(BaseModel):
    """A part of a description: no unknown keys, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KernelConfig(Strict):
    """Which kernel the guest boots."""

    series: StrictStr = DEFAULT
    tree: Path | None = None
    debug: StrictBool = False
    cdm: StrictBool = False

    @field_validator("series")
    @classmethod
    def _series(cls, value: str) -> str:
        if value not in SERIES:
            raise ValueError(f"{value!r} is not known; use one of {known()}, or tree: PATH")
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> "KernelConfig":
        if self.tree and self.debug:
            raise ValueError("tree and debug exclude each other; configure your tree for debugging")
        if self.tree and self.cdm:
            raise ValueError("tree and cdm exclude each other; apply guest/kernel/patches yourself")
        if self.tree and self.series != DEFAULT:
            raise ValueError("tree and series exclude each other; remove one")
        return self
