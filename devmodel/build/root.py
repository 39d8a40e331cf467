"""The guest's userland: the guest image's own, this machine's, or a small Debian.

A Debian is a folder ``roots/debian-<hash>`` of the cache: packages by their locks, as everything
here, unpacked over each other. No script of theirs runs, so that neither root nor a chroot is
needed; what every program expects of those scripts is made in `_settle`.
"""

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, StrictBool, StrictStr, field_validator, model_validator

from devmodel import paths
from devmodel.build import cache, debs, tree
from devmodel.build import lock as locks
from devmodel.build.archive import NoSuchPackage
from devmodel.build.lock import Lock, Request
from devmodel.description import Strict
from devmodel.errors import ConfigError
from devmodel.progress import Reporter

KIND = "roots"
PREFIX = "debian"
SUITES = ("trixie", "trixie-backports")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# What a person expects of a shell on any machine. Mounting, modules and the network are /init's.
BASE = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "grep"),
    *("gzip", "hostname", "kmod", "less", "libc-bin", "mawk", "mount", "ncurses-base", "procps"),
    *("sed", "tar", "util-linux"),
)
# Files that a maintainer's script would copy: below usr/share → below etc.
COPIED = {
    "base-passwd/passwd.master": "passwd",
    "base-passwd/group.master": "group",
    "libc-bin/nsswitch.conf": "nsswitch.conf",
    "base-files/profile": "profile",
}
NAMES = ("initramfs", "host", PREFIX)


class RootConfig(Strict):
    """What the guest's / is; the guest image's own if nothing is said."""

    host: StrictBool = False
    """this machine's, read-only beneath a layer that goes away with the VM"""
    debian: tuple[StrictStr, ...] | None = None
    """a small Debian with these packages, beneath such a layer too"""

    @field_validator("debian")
    @classmethod
    def _debian(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if not PACKAGE.fullmatch(name):
                raise ValueError(f"{name!r} is no package; write names like python3")
        return None if value is None else tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _one_of_them(self) -> "RootConfig":
        if self.host and self.debian is not None:
            raise ValueError("host and debian exclude each other; remove one")
        return self

    @property
    def name(self) -> str:
        """One of NAMES."""
        return "host" if self.host else NAMES[0] if self.debian is None else PREFIX


def named(name: str) -> RootConfig:
    """The root of one of NAMES. ValueError if it is none."""
    match name:
        case "initramfs":
            return RootConfig()
        case "host":
            return RootConfig(host=True)
        case "debian":
            return RootConfig(debian=())
    raise ValueError(f"{name!r} is no root; use one of {', '.join(NAMES)}")


def _by_name(value: object) -> object:
    return named(value) if isinstance(value, str) else value


Root = Annotated[RootConfig, BeforeValidator(_by_name)]
"""As a description has it: a name alone, or keys."""


def request(packages: tuple[str, ...]) -> Request:
    """For the newest of a Debian with these packages."""
    wanted = tuple(sorted({*BASE, *packages}))
    return Request(PREFIX, wanted, SUITES, lambda archive: archive.closure(wanted))


def obtain(config: RootConfig, reporter: Reporter) -> Path | None:
    """The folder that becomes the guest's /, made if need be; None for the image's own.

    ConfigError for a package that there is not; HostNotReady if it cannot be had.
    """
    if config.host:
        return Path("/")
    if config.debian is None:
        return None
    try:
        return debs.obtain(KIND, request(config.debian), _build, reporter, prefix=PREFIX)[0]
    except NoSuchPackage as error:
        raise ConfigError(
            f"root.debian: {error.message}", hint="packages are named as apt names them"
        ) from error


def there() -> dict[Path, str]:
    """Every Debian that a lock stands for, made or not, and what it has beside the base."""
    found = {}
    for path in (paths.cache() / "locks").glob(f"{PREFIX}-*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            wanted = tuple(json.loads(path.read_text())["wanted"])
            lock = locks.find(Request(PREFIX, wanted, SUITES, lambda _: []))
            if lock is not None:
                more = [name for name in wanted if name not in BASE]
                what = f" with {', '.join(more)}" if more else ""
                found[cache.folder(KIND, f"{PREFIX}-{lock.digest}")] = f"a guest's Debian{what}"
    return found


def _build(target: Path, _: Path, lock: Lock, reporter: Reporter) -> None:
    tree.fill(target, lock.packages, reporter, PREFIX)
    _settle(target)


def _settle(target: Path) -> None:
    """What scripts of base packages would have done."""
    for source, name in COPIED.items():
        path = target / "usr/share" / source
        if path.is_file():
            shutil.copy(path, target / "etc" / name)
    (target / "etc/shells").write_text("/bin/sh\n/bin/bash\n")
    # Where the guest mounts its own, and people look for their things.
    for folder in ("dev", "proc", "sys", "tmp", "run", "root", "mnt"):
        (target / folder).mkdir(exist_ok=True)
