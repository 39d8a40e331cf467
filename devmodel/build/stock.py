"""Kernels as the distribution built them: chosen by what they offer, unpacked, not installed.

An unpacked kernel is a folder ``kernels/stock-elf-<hash>`` in the cache::

    bzImage config release     what is booted
    vmlinux                    the same, unpacked, where a guest can be started so
    root/                      the packages; external modules are built against
                               root/usr/src/linux-headers-RELEASE
"""

import io
import re
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import bzimage, debs, kconfig, tree
from devmodel.build.archive import Archive, NoSuchPackage, Package
from devmodel.build.lock import Lock, Request
from devmodel.build.series import SERIES, STOCK
from devmodel.progress import Reporter

KIND = "kernels"
PREFIX = "stock-elf"
# Small, and boots sooner than the general one.
FLAVOUR = "cloud-amd64"
NAME = re.compile(rf"linux-headers-((\d+)\.(\d+)\.(\d+)\+\w+)-{FLAVOUR}")
# Older series than the oldest that is known have no device-private memory, or no packages like it.
OLDEST = min(tuple(map(int, SERIES[name].version.split("."))) for name in STOCK)


@dataclass(frozen=True)
class Release:
    """A stock kernel in the archive."""

    name: str
    """as in "7.2.12+deb13" """
    number: tuple[int, int, int]

    @property
    def series(self) -> str:
        """As in "7.2"."""
        return ".".join(map(str, self.number[:2]))

    @property
    def known(self) -> bool:
        """Whether the driver's tests pass on its series."""
        return self.series in STOCK

    @property
    def packages(self) -> list[str]:
        """What it consists of."""
        parts = ("base", "binary", "modules", "headers")
        common = [f"linux-headers-{self.name}-common", f"linux-kbuild-{self.name}"]
        return [*(f"linux-{part}-{self.name}-{FLAVOUR}" for part in parts), *common]

    @property
    def uname(self) -> str:
        """What `uname -r` says of it."""
        return f"{self.name}-{FLAVOUR}"


@dataclass(frozen=True)
class Stock:
    """A stock kernel, unpacked."""

    path: Path
    lock: Lock
    release: Release


def request(series: str | None) -> Request:
    """For the newest of `series`, or, without one, for the best there is."""
    name = "kernel" if series is None else f"kernel-{series}"
    # What is known is part of it: a newer devmodel chooses anew.
    wanted = STOCK if series is None else (series,)
    return Request(name, wanted, tree.SUITES, lambda archive: _resolve(archive, series))


def obtain(series: str | None, reporter: Reporter) -> Stock:
    """The stock kernel, fetched if it is not in the cache.

    NoSuchPackage if the archive has none that will do; HostNotReady if it cannot be had.
    """
    if (found := find(series)) is not None:
        return found
    entry, lock = debs.obtain(KIND, request(series), _build, reporter, prefix=PREFIX)
    return Stock(entry, lock, _release(lock))


def find(series: str | None) -> Stock | None:
    """The stock kernel if it is in the cache; nothing is asked."""
    # What was taken as the best is also the one of its series.
    for wanted in (request(series), request(None)):
        found = debs.find(KIND, wanted, prefix=PREFIX)
        if found is not None and series in (None, _release(found[1]).series):
            return Stock(*found, _release(found[1]))
    return None


def releases(archive: Archive) -> list[Release]:
    """All of the archive that are new enough, the newest first."""
    found = []
    for name in archive.names(NAME):
        match = NAME.fullmatch(name)
        assert match is not None
        number = (int(match[2]), int(match[3]), int(match[4]))
        if number[:2] >= OLDEST:
            found.append(Release(match[1], number))
    return sorted(found, key=lambda release: release.number, reverse=True)


def candidates(found: Sequence[Release], series: str | None) -> list[Release]:
    """In the order in which they are tried: what is known to work, then what is newer."""
    if series is not None:
        return [release for release in found if release.series == series]
    known = [release for name in STOCK for release in found if release.series == name]
    return [*known, *(release for release in found if not release.known)]


def _resolve(archive: Archive, series: str | None) -> list[Package]:
    refused = []
    for release in candidates(releases(archive), series):
        try:
            packages = archive.alone(release.packages)
        except NoSuchPackage as error:
            refused.append(error.message)
            continue
        lacks = kconfig.missing(_config(archive, release, packages[0]))
        if not lacks:
            return packages
        refused.append(f"{release.name} lacks {', '.join(lacks)}")
    what = "stock kernel that will do" if series is None else f"stock kernel {series}"
    raise NoSuchPackage(
        f"{archive.uri} has no {what}{''.join(f'; {why}' for why in refused)}",
        hint="devmodel kernels lists the others",
    )


def _config(archive: Archive, release: Release, base: Package) -> dict[str, str]:
    """The configuration of a kernel that is not unpacked yet, from its smallest package."""
    data = debs.content(debs.fetch_one(base, archive.uri))
    with tarfile.open(fileobj=io.BytesIO(data)) as files:
        for member in files:
            if member.name.endswith(f"/{release.uname}/config"):
                file = files.extractfile(member)
                assert file is not None
                return kconfig.parse(file.read().decode())
    return {}


def _release(lock: Lock) -> Release:
    """What a lock was resolved to."""
    for package in lock.packages:
        if match := NAME.fullmatch(package.name):
            return Release(match[1], (int(match[2]), int(match[3]), int(match[4])))
    raise ValueError(f"{lock.path} names no kernel")


def _build(target: Path, entry: Path, lock: Lock, reporter: Reporter) -> None:
    release = _release(lock)
    root = target / "root"
    root.mkdir()
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    debs.unpack(lock.packages, root, reporter, f"kernel {release.name}")
    modules = root / "usr/lib/modules" / release.uname
    shutil.copy2(modules / "vmlinuz", target / "bzImage")
    shutil.copy2(modules / "config", target / "config")
    kernel = bzimage.elf((target / "bzImage").read_bytes())
    if kernel is not None and kconfig.pvh(kconfig.read(target / "config")):
        (target / "vmlinux").write_bytes(kernel)
    (target / "release").write_text(f"{release.uname}\n")
    _move(root, entry / "root", release)


def _move(root: Path, final: Path, release: Release) -> None:
    """Have the headers name the place where they will lie, instead of /usr/src and /usr/lib."""
    headers = root / f"usr/src/linux-headers-{release.uname}"
    for path in (headers / "Makefile", headers / ".kernelvariables"):
        if path.is_file() and "/usr/src/" in (text := path.read_text()):
            path.write_text(text.replace("/usr/src/", f"{final}/usr/src/"))
    for path in headers.rglob("*"):
        if path.is_symlink() and (goal := str(path.readlink())).startswith(("/usr/", "/lib/")):
            path.unlink()
            path.symlink_to(f"{final}{goal}")
