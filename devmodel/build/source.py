"""The source of a kernel, from the distribution's package: fetched, checked and unpacked once.

An entry ``sources/linux-source-VERSION-<hash>`` of the cache holds one folder, the tree.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import cache, debs, tree
from devmodel.build.archive import NoSuchPackage
from devmodel.build.lock import Lock, Request
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

KIND = "sources"
# Thousands of 10 KiB records in the tarball: for the bar only.
RECORDS = 170


@dataclass(frozen=True)
class Source:
    """A kernel's source tree."""

    path: Path
    version: str
    """of the package"""


def package(version: str) -> str:
    """The source package of Linux `version`, as in "7.2"."""
    return f"linux-source-{version}"


def request(version: str, suite: str, exact: str = "") -> Request:
    """For the newest source of Linux `version`, or for the package's version `exact`."""
    wanted = f"{package(version)}={exact}" if exact else package(version)
    name = f"source-{exact or version}"
    return Request(name, (wanted,), (suite,), lambda archive: archive.alone([wanted]))


def obtain(version: str, suite: str, reporter: Reporter, *, exact: str = "") -> Source:
    """The newest source of a version when it was first asked for, or that of `exact`'s binaries.

    NoSuchPackage if the archive has none; HostNotReady if it cannot be had. Where it has no longer
    what is `exact`, the newest is taken, and that is said.
    """
    if exact:
        try:
            return _obtain(request(version, suite, exact), version, reporter)
        except NoSuchPackage as error:
            reporter.note(f"{error.message}; taking the newest")
    return _obtain(request(version, suite), version, reporter)


def known(version: str, suite: str) -> str | None:
    """The package's version that `obtain` gives, if it is in the cache; nobody is asked."""
    found = debs.find(KIND, request(version, suite), prefix=package(version))
    return None if found is None else found[1].version(package(version))


def _obtain(wanted: Request, version: str, reporter: Reporter) -> Source:
    tools = tree.obtain(reporter)

    def build(target: Path, _: Path, lock: Lock, reporter: Reporter) -> None:
        scratch = target / "deb"
        scratch.mkdir()
        debs.unpack(lock.packages, scratch, reporter, package(version))
        tarball = scratch / "usr/src" / f"{package(version)}.tar.xz"
        tar = ["tar", "-xf", tarball, "-C", target, "--no-same-owner"]
        tar += ["--checkpoint=1000", "--checkpoint-action=echo"]
        with reporter.step(f"unpacking the source of Linux {version}", RECORDS) as step:
            tools.run(
                tar,
                what="kernel source",
                log=target / "unpack.log",
                each_line=lambda _: step.advance(),
            )
        shutil.rmtree(scratch)

    entry, lock = debs.obtain(KIND, wanted, build, reporter, prefix=package(version))
    folders = [path for path in entry.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise BuildFailed(f"{entry} does not hold one folder", hint="devmodel cache prune --all")
    return Source(folders[0], lock.version(package(version)))


def patched(source: Path, patches: Sequence[Path], reporter: Reporter) -> Path:
    """A copy of a source tree with `patches` applied, once in the cache.

    BuildFailed if one does not apply. The copy shares the files that no patch touches.
    """
    tools = tree.obtain(reporter)

    def build(target: Path) -> None:
        log = target / "patch.log"
        with reporter.step("patching the kernel source", 1 + len(patches)) as step:
            # Hard links: patch replaces a file and does not write into it.
            copy = ["cp", "-al", source, target / source.name]
            tools.run(copy, what="kernel source", log=log)
            step.advance()
            for path in patches:
                (target / path.name).write_text(path.read_text())
                apply = ["patch", "-p1", "--no-backup-if-mismatch", "-f"]
                apply += ["-i", str(target / path.name)]
                tools.run(apply, what=path.name, log=log, cwd=target / source.name)
                step.advance()

    name = patched_name(source, patches)
    return cache.obtain(KIND, name, build, on_wait=reporter.note) / source.name


def patched_name(source: Path, patches: Sequence[Path]) -> str:
    """What the patched copy of a tree is called in the cache."""
    key = cache.key(tree=str(source), patches=[path.read_text() for path in patches])
    return f"patched-{key}"
