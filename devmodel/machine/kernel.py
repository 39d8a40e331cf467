"""The guest kernel: from the distribution's source, or from a user's own tree.

A built kernel is a folder ``kernels/<hash>`` in the cache::

    bzImage vmlinux config release     what is booted, debugged and asked
    build/                             the kbuild output that external modules are built against
    build.log                          make's output

Entries are found by the hash of their inputs: source package, configuration, compiler.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devmodel.machine import cache, command, host, kconfig, paths
from devmodel.machine.config import KernelConfig
from devmodel.machine.errors import BuildFailed, ConfigError, HostNotReady
from devmodel.machine.progress import Reporter

SOURCE_PACKAGE = "linux-source-6.1"
TARBALL = Path(f"/usr/src/{SOURCE_PACKAGE}.tar.xz")
FRAGMENTS = paths.GUEST / "kernel"
# Lines that make prints for a kernel of base.config, and thousands of 10 KiB records in the
# tarball: for the bars only.
EXPECTED_LINES = 1850
EXPECTED_DEBUG_LINES = 1950
EXPECTED_CHECKPOINTS = 132


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


def source_version() -> str:
    """What tells one source tarball from another: its package's version.

    A tarball that no package owns is told by size and time.
    """
    if not TARBALL.is_file():
        raise HostNotReady(f"no {TARBALL}", hint=f"apt-get install {SOURCE_PACKAGE}")
    query = ["dpkg-query", "-W", "-f", "${Version}", SOURCE_PACKAGE]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        stat = TARBALL.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"
    return done.stdout.strip()


def fragments(config: KernelConfig) -> list[Path]:
    """The configuration fragments, in the order in which they are merged."""
    return [FRAGMENTS / "base.config", *([FRAGMENTS / "debug.config"] if config.debug else [])]


def obtain(config: KernelConfig, reporter: Reporter) -> Kernel:
    """The kernel that `config` asks for, built if it is not in the cache."""
    if config.tree is not None:
        return _own_tree(config.tree, reporter)
    files = fragments(config)
    version = source_version()
    name = cache.key(
        source=version,
        fragments=[path.read_text() for path in files],
        compiler=compiler_version(),
        layout=2,
    )

    def build(target: Path) -> None:
        host.require_disk(target, host.BUILD_DISK, "building the kernel")
        source = unpack(version, reporter)
        log = target / "build.log"
        output = target / "build"
        output.mkdir()
        merge = [source / "scripts/kconfig/merge_config.sh", "-n", "-O", output, *files]
        command.run(merge, what="kernel configuration", log=log, cwd=source)
        kconfig.check(output / ".config")
        _make(source, output, log, "debug kernel" if config.debug else "kernel", reporter)
        _publish(output, target)

    entry = cache.obtain("kernels", name, build, on_wait=reporter.note)
    return _from_entry(entry, name)


def unpack(version: str, reporter: Reporter) -> Path:
    """The source tree, unpacked once into the cache."""

    def build(target: Path) -> None:
        # The tar program: Python's would take several times as long over 80,000 files.
        tar = ["tar", "-xf", TARBALL, "-C", target, "--no-same-owner"]
        tar += ["--checkpoint=1000", "--checkpoint-action=echo"]
        with reporter.step("unpacking the kernel source", EXPECTED_CHECKPOINTS) as step:
            command.run(
                tar,
                what="kernel source",
                log=target / "unpack.log",
                each_line=lambda _: step.advance(),
            )

    entry = cache.obtain(
        "sources", cache.key(package=SOURCE_PACKAGE, version=version), build, on_wait=reporter.note
    )
    folders = [path for path in entry.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise BuildFailed(f"{TARBALL} does not hold one folder", hint=f"remove {entry}")
    return folders[0]


def _make(source: Path, output: Path, log: Path, what: str, reporter: Reporter) -> None:
    expected = EXPECTED_DEBUG_LINES if "debug" in what else EXPECTED_LINES
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    with reporter.step(f"building the {what}", expected) as step:
        command.run(
            ["make", "-C", source, f"O={output}", jobs, "bzImage", "modules"],
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


def _publish(output: Path, target: Path) -> None:
    """Put what is wanted of a kbuild output beside it, and drop what only a rebuild would use."""
    shutil.copy2(output / "arch/x86/boot/bzImage", target / "bzImage")
    shutil.copy2(output / ".config", target / "config")
    shutil.copy2(output / "include/config/kernel.release", target / "release")
    # Modules are linked against Module.symvers; the objects (most of 300 MB) are not needed.
    for path in output.rglob("*"):
        keep = path.relative_to(output).parts[0] in ("scripts", "tools")
        if not keep and path.suffix in (".o", ".a", ".cmd") and path.is_file():
            path.unlink()
    for path in output.glob(".tmp_vmlinux*"):
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
    _make(tree, output, log, "kernel", reporter)
    return _own_tree(output, reporter)
