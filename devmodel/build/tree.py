"""The tools tree: compiler, make, and whatever else builds guests, from Debian's packages.

One folder in the cache, at versions that a lock names (`devmodel.build.lock`), so that what this
machine has installed hardly matters: Python, tar and namespaces (`devmodel.build.sandbox`) are all
that is asked of it. No root and no package manager is needed to make it.

C++ is only programs of users: its compiler comes when one is first built, into a second tree, whose
files are otherwise the first one's.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devmodel import paths
from devmodel.build import command, debs, sandbox
from devmodel.build.archive import Archive, Package
from devmodel.build.lock import Lock, Request
from devmodel.progress import Reporter

SUITES = ("trixie", "trixie-backports")
TOOLS = (
    # what a shell script of a build expects
    *("dash", "bash", "coreutils", "sed", "grep", "mawk", "findutils", "diffutils", "tar", "gzip"),
    # the driver and the guest's programs
    *("gcc", "libc6-dev", "make", "kmod"),
    # the guest image, and its shared folders
    *("busybox-static", "dropbear-bin", "virtiofsd"),
    # kernels from source
    *("flex", "bison", "bc", "libelf-dev", "perl", "patch", "xz-utils", "lz4", "zstd"),
    *("rsync", "cpio"),
    # the driver's lint
    "sparse",
    # builds where there are no namespaces
    "proot",
)
COMPILER = "gcc-14"
CPLUSPLUS = "g++"
KIND = "trees"
# What an installed system gets from update-alternatives.
ALTERNATIVES = {"awk": "mawk", "cc": "gcc"}


@dataclass(frozen=True)
class Tree:
    """The tools, unpacked."""

    path: Path
    lock: Lock

    @property
    def compiler(self) -> str:
        """Changes when the compiler does: part of the keys of what is built with it."""
        return f"{COMPILER} {self.lock.version(COMPILER)}"

    def file(self, name: str) -> Path:
        """Where the tree has the program or library /usr/NAME."""
        return self.path / "usr" / name

    def run(
        self,
        argv: Sequence[object],
        *,
        what: str,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        each_line: Callable[[str], None] | None = None,
        folders: Sequence[Path] = (),
    ) -> None:
        """`command.run`, in the tree: of this machine it sees the cache, and `folders`."""
        words = [str(word) for word in argv]
        command.run(
            self._wrapped(words, cwd or log.parent, folders),
            shown=words,
            leash=True,
            what=what,
            log=log,
            environment=environment,
            each_line=each_line,
        )

    def call(self, argv: Sequence[object], *, cwd: Path, folders: Sequence[Path]) -> int:
        """`command.call`, in the tree."""
        return command.call(self._wrapped([str(word) for word in argv], cwd, folders))

    def _wrapped(self, words: Sequence[str], cwd: Path, folders: Sequence[Path]) -> list[str]:
        return sandbox.wrap(self.path, words, cwd=cwd, folders=[paths.cache(), *folders])

    def native(self, program: str) -> list[str]:
        """A command that runs /usr/PROGRAM of the tree outside of it, with its own libraries."""
        return sandbox.native(self.path, program)


REQUEST = Request("tools", TOOLS, SUITES, lambda archive: archive.closure(TOOLS))


def obtain(reporter: Reporter) -> Tree:
    """The tools tree, made if it is not in the cache. HostNotReady if it cannot be had."""
    return Tree(*unpacked(REQUEST, reporter))


def find() -> Tree | None:
    """The tools tree if it is in the cache; nothing is asked."""
    found = debs.find(KIND, REQUEST, prefix=REQUEST.name)
    return None if found is None else Tree(*found)


def cplusplus(reporter: Reporter) -> Tree:
    """The tools with a C++ compiler and library, made if need be. HostNotReady as for `obtain`."""
    tools = obtain(reporter)

    def build(target: Path, _: Path, lock: Lock, reporter: Reporter) -> None:
        # Links to the files of the other: what is unpacked over one takes its place.
        shutil.copytree(
            tools.path, target, symlinks=True, copy_function=os.link, dirs_exist_ok=True
        )
        debs.unpack(lock.packages, target, reporter, CPLUSPLUS)

    request, prefix = _cplusplus(tools)
    path, lock = debs.obtain(KIND, request, build, reporter, prefix=prefix)
    # Of a package that both have, the last one's version.
    return Tree(path, replace(lock, packages=(*tools.lock.packages, *lock.packages)))


def find_cplusplus(tools: Tree) -> Path | None:
    """Where `cplusplus` has the tree that goes with `tools`, if it is in the cache."""
    request, prefix = _cplusplus(tools)
    found = debs.find(KIND, request, prefix=prefix)
    return None if found is None else found[0]


def _cplusplus(tools: Tree) -> tuple[Request, str]:
    """What C++ needs beside those tools, newer versions of them included; what its tree is called.

    The archive may have moved on, and gcc and g++ must be of one version.
    """

    def resolve(archive: Archive) -> list[Package]:
        known = {(package.name, package.version) for package in tools.lock.packages}
        return [p for p in archive.closure([CPLUSPLUS]) if (p.name, p.version) not in known]

    digest = tools.lock.digest
    return Request(CPLUSPLUS, (CPLUSPLUS, digest), SUITES, resolve), f"{CPLUSPLUS}-{digest[:8]}"


def unpacked(request: Request, reporter: Reporter) -> tuple[Path, Lock]:
    """The packages of a request as a tree in the cache, with their lock."""

    def build(target: Path, _: Path, lock: Lock, reporter: Reporter) -> None:
        # Where the sandbox mounts what its command sees.
        (target / "mnt").mkdir()
        fill(target, lock.packages, reporter, request.name)

    return debs.obtain(KIND, request, build, reporter, prefix=request.name)


def fill(target: Path, packages: Sequence[Package], reporter: Reporter, what: str) -> None:
    """Unpack packages that were fetched into the empty folder `target`, as a root with one /usr."""
    for link in sandbox.LINKS:
        (target / "usr" / link).mkdir(parents=True)
        (target / link).symlink_to(f"usr/{link}")
    debs.unpack(packages, target, reporter, what)
    for link, program in ALTERNATIVES.items():
        path = target / "usr/bin" / link
        if (target / "usr/bin" / program).exists() and not path.exists():
            path.symlink_to(program)
