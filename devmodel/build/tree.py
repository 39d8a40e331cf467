"""The tools tree: compiler, make, and whatever else builds guests, from Debian's packages.

One folder in the cache, at versions that a lock names (`devmodel.build.lock`), so that what this
machine has installed hardly matters: Python, tar and namespaces (`devmodel.build.sandbox`) are all
that is asked of it. No root and no package manager is needed to make it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel import paths
from devmodel.build import command, debs, sandbox
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
            sandbox.wrap(
                self.path, words, cwd=cwd or log.parent, folders=[paths.cache(), *folders]
            ),
            shown=words,
            leash=True,
            what=what,
            log=log,
            environment=environment,
            each_line=each_line,
        )

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


def unpacked(request: Request, reporter: Reporter) -> tuple[Path, Lock]:
    """The packages of a request as a tree in the cache, with their lock."""

    def build(target: Path, _: Path, lock: Lock, reporter: Reporter) -> None:
        for link in sandbox.LINKS:
            (target / "usr" / link).mkdir(parents=True)
            (target / link).symlink_to(f"usr/{link}")
        # Where the sandbox mounts what its command sees.
        (target / "mnt").mkdir()
        debs.unpack(lock.packages, target, reporter, request.name)
        for link, program in ALTERNATIVES.items():
            path = target / "usr/bin" / link
            if (target / "usr/bin" / program).exists() and not path.exists():
                path.symlink_to(program)

    return debs.obtain(KIND, request, build, reporter, prefix=request.name)
