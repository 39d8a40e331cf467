"""The guest kernel: from the distribution's source, or from a user's own tree.

A built kernel is a folder ``kernels/<hash>`` in the cache::

    bzImage vmlinux config release     what is booted, debugged and asked
    build/                             the kbuild output that external modules are built against
    build.log                          make's output

Entries are found by the hash of their inputs: source package, patches, configuration, compiler.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, command, disk, kconfig, source
from devmodel.build.config import KernelConfig
from devmodel.build.series import DEFAULT, SERIES
from devmodel.errors import ConfigError, HostNotReady
from devmodel.progress import Reporter

FRAGMENTS = paths.GUEST / "kernel"
# More lines that make prints for a debug kernel: for the bar only.
DEBUG_LINES = 100
# The unpacked source, the objects, and the debug kernel's are the largest.
BUILD_DISK = 6 << 30


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot, and to build modules against."""

    image: Path
    vmlinux: Path
    build: Path
    release: str
    identity: str
    """Changes when the kernel does: part of the keys of what is built against it."""


def compiler_version() -> str:
    """The first line of ``gcc --version``. HostNotReady without gcc."""
    try:
        done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostNotReady("gcc does not run", hint="apt-get install gcc") from error
    return done.stdout.splitlines()[0]


def fragments(config: KernelConfig) -> list[Path]:
    """The configuration fragments, in the order in which they are merged."""
    return [FRAGMENTS / "base.config", *([FRAGMENTS / "debug.config"] if config.debug else [])]


def patches(config: KernelConfig) -> list[Path]:
    """The patches that are applied to the source, in order."""
    return sorted((FRAGMENTS / "patches" / config.series).glob("*.patch")) if config.cdm else []


def obtain(config: KernelConfig, reporter: Reporter) -> Kernel:
    """The kernel that `config` asks for, built if it is not in the cache."""
    if config.tree is not None:
        return _own_tree(config.tree, reporter)
    series = SERIES[config.series]
    tarball = source.tarball(series, reporter)
    name = _identity(config, tarball)
    files = fragments(config)
    kinds = "debug " * config.debug + "CDM " * config.cdm
    what = f"{series.name} {kinds}kernel"
    lines = series.build_lines + (DEBUG_LINES if config.debug else 0)

    def build(target: Path) -> None:
        disk.require(target, BUILD_DISK, "building the kernel")
        tree = source.unpack(tarball, reporter)
        if config.cdm:
            tree = source.patched(tree, patches(config), reporter)
        log = target / "build.log"
        output = target / "build"
        output.mkdir()
        merge = [tree / "scripts/kconfig/merge_config.sh", "-n", "-O", output, *files]
        command.run(merge, what="kernel configuration", log=log, cwd=tree)
        kconfig.check(output / ".config")
        _make(tree, output, log, what, lines, reporter, "-cdm" * config.cdm)
        _publish(output, target, cache.folder("kernels", name))

    entry = cache.obtain("kernels", name, build, on_wait=reporter.note)
    return _from_entry(entry, name)


def find(config: KernelConfig) -> Kernel | None:
    """The kernel of the series that `config` asks for if it is built; nothing is built."""
    tarball = source.present(SERIES[config.series])
    if tarball is None:
        return None
    name = _identity(config, tarball)
    entry = cache.folder("kernels", name)
    return _from_entry(entry, name) if entry.is_dir() else None


def _identity(config: KernelConfig, tarball: source.Tarball) -> str:
    applied = {"patches": [path.read_text() for path in patches(config)]} if config.cdm else {}
    return cache.key(
        source=tarball.version,
        fragments=[path.read_text() for path in fragments(config)],
        compiler=compiler_version(),
        layout=2,
        **applied,
    )


def _make(
    tree: Path,
    output: Path,
    log: Path,
    what: str,
    lines: int,
    reporter: Reporter,
    version: str = "",
) -> None:
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    with reporter.step(f"building the {what}", lines) as step:
        command.run(
            [
                "make",
                "-C",
                tree,
                f"O={output}",
                jobs,
                f"LOCALVERSION={version}",
                "bzImage",
                "modules",
            ],
            what=what,
            log=log,
            # Who built it, where and when is not an input.
            environment={
                "KBUILD_BUILD_USER": "devmodel",
                "KBUILD_BUILD_HOST": "devmodel",
                "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
            },
            each_line=lambda _: step.advance(),
        )


def _publish(output: Path, target: Path, entry: Path) -> None:
    """Put what is wanted of a kbuild output beside it, and drop what only a rebuild would use.

    `entry` is what `target` will be called.
    """
    # Since 6.13 it names its own folder.
    makefile = output / "Makefile"
    makefile.write_text(makefile.read_text().replace(str(target), str(entry)))
    shutil.copy2(output / "arch/x86/boot/bzImage", target / "bzImage")
    shutil.copy2(output / ".config", target / "config")
    shutil.copy2(output / "include/config/kernel.release", target / "release")
    # Modules are linked against Module.symvers; the objects (most of 300 MB) are not needed.
    for path in output.rglob("*"):
        keep = path.relative_to(output).parts[0] in ("scripts", "tools")
        if not keep and path.suffix in (".o", ".a", ".cmd") and path.is_file():
            path.unlink()
    for path in (*output.glob(".tmp_vmlinux*"), *output.glob("vmlinux.unstripped")):
        path.unlink()
    (output / "vmlinux").rename(target / "vmlinux")
    (output / "vmlinux").symlink_to("../vmlinux")


def _from_entry(entry: Path, name: str) -> Kernel:
    release = (entry / "release").read_text().strip()
    return Kernel(entry / "bzImage", entry / "vmlinux", entry / "build", release, name)


def _own_tree(tree: Path, reporter: Reporter) -> Kernel:
    """A user's tree: as it is if it is built, else built beside, in the cache."""
    image = tree / "arch/x86/boot/bzImage"
    if image.is_file():
        kconfig.check(tree / ".config")
        release = (tree / "include/config/kernel.release").read_text().strip()
        stat = image.stat()
        identity = cache.key(tree=str(tree), size=stat.st_size, time=stat.st_mtime_ns)
        return Kernel(image, tree / "vmlinux", tree, release, identity)
    if not (tree / "scripts/kconfig/merge_config.sh").is_file():
        raise ConfigError(
            f"{tree} is neither a built kernel nor a kernel source tree",
            hint="name the top folder of one",
        )
    if (tree / ".config").exists() or (tree / "include/config").exists():
        # kbuild refuses to build elsewhere from a tree that was configured in place.
        raise ConfigError(
            f"{tree} is configured but not built",
            hint=f"run `make -C {tree} bzImage modules`, or `make -C {tree} mrproper`",
        )
    # Someone works in this tree: its build folder is kept, and make finds out what changed.
    target = paths.cache() / "kernels" / f"own-{cache.key(tree=str(tree))}"
    output = target / "build"
    output.mkdir(parents=True, exist_ok=True)
    log = target / "build.log"
    log.unlink(missing_ok=True)
    if not (output / ".config").exists():
        merge = [tree / "scripts/kconfig/merge_config.sh", "-n", "-O", output]
        command.run(
            [*merge, FRAGMENTS / "base.config"], what="kernel configuration", log=log, cwd=tree
        )
    kconfig.check(output / ".config")
    _make(tree, output, log, "kernel", SERIES[DEFAULT].build_lines, reporter)
    return _own_tree(output, reporter)
