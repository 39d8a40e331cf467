"""Which kernel a description asks for: the part of it that concerns builds."""

from pathlib import Path

from pydantic import StrictBool, StrictStr, ValidationError, field_validator, model_validator

from devmodel.build.series import OWN, SERIES, Kind, Series, known
from devmodel.description import Strict
from devmodel.errors import ConfigError


class KernelConfig(Strict):
    """Which kernel the guest boots. Where it names no series, the best stock one there is."""

    series: StrictStr | None = None
    tree: Path | None = None
    make: StrictBool = False
    """a tree that was built in its own folder is built there again, first"""
    image: Path | None = None
    modules: Path | None = None
    debug: StrictBool = False
    cdm: StrictBool = False

    @field_validator("series")
    @classmethod
    def _series(cls, value: str | None) -> str | None:
        if value is not None and value not in SERIES:
            raise ValueError(f"{value!r} is not known; use one of {known()}, or tree: PATH")
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> "KernelConfig":
        if self.tree and self.debug:
            raise ValueError("tree and debug exclude each other; configure your tree for debugging")
        if self.tree and self.cdm:
            raise ValueError("tree and cdm exclude each other; apply guest/kernel/patches yourself")
        if self.tree and self.series is not None:
            raise ValueError("tree and series exclude each other; remove one")
        if self.image and (self.tree or self.series is not None or self.debug or self.cdm):
            raise ValueError("image excludes tree, series, debug and cdm; remove them")
        if self.modules and not self.image:
            raise ValueError("modules are those of an image; name it")
        if self.make and not self.tree:
            raise ValueError("make is for a tree; name it")
        if (self.debug or self.cdm) and self.source is None:
            what = "debug" if self.debug else "cdm"
            raise ValueError(
                f"{what} is built from source, and there is none of {self.series}; "
                f"use one of {', '.join(OWN)}"
            )
        return self

    @property
    def is_users(self) -> bool:
        """Whether it is a tree or an image of the user's."""
        return self.tree is not None or self.image is not None

    @property
    def source(self) -> Series | None:
        """The series that is built from source for this; None if it is a stock kernel or a tree.

        A stock series' debug and patched kernels are those of the same version's source.
        """
        if self.is_users or (self.series is None and not (self.debug or self.cdm)):
            return None
        if self.series is None:
            return SERIES[OWN[0]]
        series = SERIES[self.series]
        if series.kind is Kind.STOCK and (self.debug or self.cdm):
            return next((SERIES[own] for own in OWN if SERIES[own].version == series.version), None)
        return series if series.kind is Kind.OWN else None

    @property
    def kind(self) -> Kind | None:
        """None for a tree or an image of the user's."""
        if self.is_users:
            return None
        if self.debug:
            return Kind.DEBUG
        if self.cdm:
            return Kind.PATCHED
        return Kind.STOCK if self.source is None else Kind.OWN


# What --kernel and `devmodel kernels` call them.
NAMED = {
    **{name: KernelConfig(series=name) for name in SERIES},
    "cdm": KernelConfig(cdm=True),
    "debug": KernelConfig(debug=True),
    "6.1-cdm": KernelConfig(series="6.1-own", cdm=True),
    "6.1-debug": KernelConfig(series="6.1-own", debug=True),
}


def called(
    wanted: str, config: KernelConfig, where: str = "--kernel", *, modules: Path | None = None
) -> KernelConfig:
    """The kernel that a person calls `wanted`: a name, or else a path.

    With what `config`, which it takes the place of, has it be for (debugging, a memory model).
    ConfigError, beginning with `where`, if that cannot be.
    """
    if wanted not in NAMED:
        return of_path(Path(wanted), modules)
    named = NAMED[wanted]
    try:
        return KernelConfig(
            series=named.series,
            debug=config.debug or named.debug,
            cdm=config.cdm or named.cdm,
        )
    except ValidationError as error:
        cause = error.errors()[0]["ctx"]["error"]
        raise ConfigError(f"{where} {wanted}: {cause}") from None


def located(name: str, base: Path) -> str:
    """The kernel that a person calls so who writes in the folder `base`: paths are from there."""
    return name if name in NAMED else str((base / Path(name).expanduser()).absolute())


def of_path(path: Path, modules: Path | None = None) -> KernelConfig:
    """A kernel of the user's: a tree, or an image. One that lies in its tree is that tree's."""
    path = path.expanduser().absolute()
    if not path.is_file():
        if modules is not None:
            raise ConfigError("--modules: these are a bzImage's", hint="name it with --kernel")
        return KernelConfig(tree=path)
    home = path.parents[3] if len(path.parents) > 3 else path
    if modules is None and (home / "include/config/kernel.release").is_file():
        return KernelConfig(tree=home)
    return KernelConfig(
        image=path, modules=None if modules is None else modules.expanduser().absolute()
    )
