"""The driver and the guest's programs, built and cached.

Both are built from a copy in the cache: kbuild writes beside its sources, and two kernels may
want the same driver at once.
"""

import os
import shutil
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, tree
from devmodel.build.kernel import Kernel
from devmodel.build.tree import Tree
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter, Step

DRIVER = paths.GUEST / "driver"
UAPI = paths.GUEST / "uapi"
MODULE = "devmodel.ko"
# A distribution's kernel has debug information, which takes longer than the code, and BTF, which
# wants its vmlinux.
QUICK = ("KCFLAGS=-g0", "CONFIG_DEBUG_INFO_BTF_MODULES=")
SOURCES = ("lib", "tests", "probes", "model", "tools", "workloads", "uapi")


def _is_source(path: Path) -> bool:
    return path.suffix in (".c", ".h", ".S", ".sh") or path.name in ("Makefile", "Kbuild")


def driver_sources() -> list[Path]:
    """What goes into the driver; empty while there is none."""
    if not (DRIVER / "Makefile").exists() and not (DRIVER / "Kbuild").exists():
        return []
    files = [*cache.tree_files(DRIVER), *cache.tree_files(UAPI)]
    return [path for path in files if _is_source(path)]


def driver(kernel: Kernel, reporter: Reporter) -> Path | None:
    """devmodel.ko for `kernel`, or None in a checkout without a driver."""
    sources = driver_sources()
    if not sources:
        return None

    def build(target: Path) -> None:
        # The driver includes ../uapi: keep the shape of guest/.
        copy(sources, target / "guest")
        folder = target / "guest/driver"
        with reporter.step("building the driver", 40) as step:
            external(kernel, folder, target / "build.log", step)
        if not (folder / MODULE).is_file():
            raise BuildFailed(f"driver: make gave no {MODULE}", hint=f"see {target / 'build.log'}")

    name = driver_name(kernel)
    return cache.obtain("drivers", name, build, on_wait=reporter.note) / "guest/driver" / MODULE


def driver_name(kernel: Kernel) -> str:
    """What the driver for `kernel` is called in the cache."""
    return cache.key(
        kernel=kernel.identity,
        sources=cache.hash_files(driver_sources(), paths.GUEST),
        compiler=kernel.tools.compiler,
    )


def external(kernel: Kernel, folder: Path, log: Path, step: Step) -> None:
    """Build the modules whose Kbuild file lies in `folder`. BuildFailed with the end of the log."""
    kernel.tools.run(
        ["make", "-C", kernel.build, f"M={folder}", f"-j{_cpus()}", *QUICK, "modules"],
        what="driver",
        log=log,
        each_line=lambda _: step.advance(),
        folders=[path for path in (kernel.build, kernel.source) if path is not None],
    )


def program_sources() -> list[Path]:
    """What goes into the guest's programs; empty while there are none."""
    makefile = paths.GUEST / "Makefile"
    if not makefile.exists():
        return []
    files = [path for part in SOURCES for path in cache.tree_files(paths.GUEST / part)]
    return [makefile, *(path for path in files if _is_source(path))]


def programs(reporter: Reporter) -> list[Path]:
    """The guest's own programs, statically linked, for /usr/bin."""
    sources = program_sources()
    if not sources:
        return []
    tools = tree.obtain(reporter)

    def build(target: Path) -> None:
        copy(sources, target / "guest")
        out = target / "out"
        out.mkdir()
        with reporter.step("building the guest programs", len(sources)) as step:
            tools.run(
                ["make", "-C", target / "guest", f"OUT={out}", f"-j{_cpus()}"],
                what="guest programs",
                log=target / "build.log",
                each_line=lambda _: step.advance(),
            )

    name = programs_name(tools)
    return built_programs(cache.obtain("programs", name, build, on_wait=reporter.note))


def programs_name(tools: Tree) -> str:
    """What the programs are called in the cache."""
    sources = cache.hash_files(program_sources(), paths.GUEST)
    return cache.key(sources=sources, compiler=tools.compiler)


def built_programs(entry: Path) -> list[Path]:
    """What an entry of the cache holds."""
    return [path for path in cache.tree_files(entry / "out") if os.access(path, os.X_OK)]


def copy(sources: list[Path], target: Path) -> None:
    """Copy files of guest/ below `target`, each into the folder that it has in guest/."""
    for path in sources:
        place = target / path.relative_to(paths.GUEST)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def _cpus() -> int:
    return len(os.sched_getaffinity(0))
