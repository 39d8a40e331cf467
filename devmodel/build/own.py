"""Kernels that are built from source, and built again quickly.

A built kernel is a folder ``kernels/own-<hash>`` in the cache::

    bzImage vmlinux config release     what is booted, debugged and asked
    build/                             the kbuild output that external modules are built against
    build.log                          make's output

Entries are found by the hash of their inputs: source package, patches, configuration, compiler.
They are made in ``work/NAME``, where sources and objects stay: when a patch or the configuration
changes, make builds what that touches, and no more.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, disk, kconfig, source, tree
from devmodel.build.config import KernelConfig
from devmodel.build.series import Series
from devmodel.build.tools import Tools
from devmodel.build.tree import Tree
from devmodel.errors import ConfigError
from devmodel.progress import Reporter

FRAGMENTS = paths.GUEST / "kernel"
# More lines that make prints for a debug kernel: for the bar only.
DEBUG_LINES = 100
# Of one processor, for base.config; what the debug kernel takes of it.
CPU_SECONDS = 460
DEBUG_FACTOR = 2.5
# Sources, objects, and what is kept of them.
DISK = 4 << 30
DEBUG_DISK = 8 << 30
# What building once more takes at a time: the kernel, linked again.
AGAIN_DISK = 512 << 20
# Of a kbuild output, what a rebuild needs and an external module does not.
NOT_KEPT = ("*.o", "*.a", ".*.cmd", ".tmp_*", "vmlinux", "vmlinux.*")
_TOUCHED = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)


def fragments(config: KernelConfig) -> list[Path]:
    """The configuration fragments, in the order in which they are merged."""
    return [FRAGMENTS / "base.config", *([FRAGMENTS / "debug.config"] if config.debug else [])]


def patches(config: KernelConfig) -> list[Path]:
    """The patches that are applied to the source, in order."""
    if not config.cdm:
        return []
    return sorted((FRAGMENTS / "patches" / _series(config).version).glob("*.patch"))


def name(config: KernelConfig) -> str:
    """What people call it, as in "7.2-own-cdm"."""
    return _series(config).name + "-cdm" * config.cdm + "-debug" * config.debug


def minutes(config: KernelConfig) -> int:
    """About how long it takes to build on this machine's processors, from nothing."""
    seconds = CPU_SECONDS * (DEBUG_FACTOR if config.debug else 1)
    return max(1, round(seconds / 60 / len(os.sched_getaffinity(0))))


def obtain(config: KernelConfig, reporter: Reporter) -> tuple[Path, str]:
    """The kernel's folder and what it is the key of, built if it is not in the cache.

    NoSuchPackage if the archive has no such source; HostNotReady, BuildFailed.
    """
    if (found := find(config)) is not None:
        return found
    series = _series(config)
    tools = tree.obtain(reporter)
    original = source.obtain(series.version, series.suite, reporter)
    identity = _identity(config, original.version, tools)
    work = paths.cache() / "work" / name(config)

    def build(target: Path) -> None:
        disk.require(target, DEBUG_DISK if config.debug else DISK, f"building {name(config)}")
        wanted = patches(config)
        final = source.patched(original.path, wanted, reporter) if wanted else original.path
        with cache.locked(work, reporter.note):
            _bring(work, original.path, final, wanted, tools)
            output = work / "build"
            output.mkdir(exist_ok=True)
            log = target / "build.log"
            merge(work / "linux", output, fragments(config), log, tools)
            lines = series.build_lines + DEBUG_LINES * config.debug
            what = f"kernel {name(config)}"
            # Warnings of a source that nobody here changes, and a twentieth of the time.
            words = [f"LOCALVERSION={'-cdm' * config.cdm}", "KCFLAGS=-w"]
            make(work / "linux", output, log, what, lines, reporter, tools, words)
            _publish(work, target, cache.folder("kernels", f"own-{identity}"), final, tools)

    entry = cache.obtain("kernels", f"own-{identity}", build, on_wait=reporter.note)
    return entry, identity


def find(config: KernelConfig) -> tuple[Path, str] | None:
    """What `obtain` would give if it is in the cache; nothing is built, nobody is asked."""
    tools = tree.find()
    series = _series(config)
    version = source.known(series.version, series.suite)
    if tools is None or version is None:
        return None
    identity = _identity(config, version, tools)
    entry = cache.folder("kernels", f"own-{identity}")
    return (entry, identity) if entry.is_dir() else None


def merge(
    source: Path,
    output: Path,
    files: Sequence[Path],
    log: Path,
    tools: Tree,
    folders: Sequence[Path] = (),
) -> None:
    """Write `output`/.config. KernelUnfit if something is off that a guest needs."""
    copies = []
    for path in files:
        copies.append(output / f".{path.name}")
        copies[-1].write_text(path.read_text())
    script = source / "scripts/kconfig/merge_config.sh"
    tools.run(
        [script, "-n", "-O", output, *copies],
        what="kernel configuration",
        log=log,
        cwd=source,
        folders=folders,
    )
    kconfig.check(output / ".config")


def settle(
    source: Path, output: Path, log: Path, tools: Tools, folders: Sequence[Path] = ()
) -> None:
    """Give options that `output`/.config does not know their defaults; it stays if there are none.

    KernelUnfit if something is off that a guest needs.
    """
    words = ["make", "-C", source, *_output(source, output), "olddefconfig"]
    tools.run(words, what="kernel configuration", log=log, folders=folders)
    kconfig.check(output / ".config")


def _output(source: Path, output: Path) -> list[str]:
    """Words for make: a build in the source's own folder has another Makefile's idea of it."""
    return [] if output == source else [f"O={output}"]


def make(
    source: Path,
    output: Path,
    log: Path,
    what: str,
    lines: int,
    reporter: Reporter,
    tools: Tools,
    words: Sequence[str] = (),
    folders: Sequence[Path] = (),
) -> None:
    """Build the kernel and its modules in `output`, with more `words` for make.

    BuildFailed with the end of the log.
    """
    # One more than there are processors: some wait for the disk.
    jobs = f"-j{len(os.sched_getaffinity(0)) + 1}"
    command = ["make", "-C", source, *_output(source, output), jobs, *words]
    with reporter.step(f"building {what}", lines) as step:
        tools.run(
            [*command, "bzImage", "modules"],
            what=what,
            log=log,
            # Who built it, where and when is not an input.
            environment={
                "KBUILD_BUILD_USER": "devmodel",
                "KBUILD_BUILD_HOST": "devmodel",
                "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
            },
            each_line=lambda _: step.advance(),
            folders=folders,
        )


def _series(config: KernelConfig) -> Series:
    if config.source is None:
        raise ConfigError("this kernel is not built from source", hint="see devmodel kernels")
    return config.source


def _identity(config: KernelConfig, version: str, tools: Tree) -> str:
    return cache.key(
        source=version,
        fragments=[path.read_text() for path in fragments(config)],
        patches=[path.read_text() for path in patches(config)],
        compiler=tools.compiler,
        layout=3,
    )


def _bring(work: Path, original: Path, wanted: Path, patches: Sequence[Path], tools: Tree) -> None:
    """Have `work`/linux say what the tree `wanted` says, touching what differs and nothing else.

    `original` is the tree without `patches`.
    """
    linux, state = work / "linux", work / "state.json"
    try:
        known = json.loads(state.read_text())
    except (OSError, ValueError):
        known = {}
    touched = sorted({file for path in patches for file in _TOUCHED.findall(path.read_text())})
    if known.get("original") != str(original):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        tools.run(["cp", "-al", original, linux], what="kernel source", log=work / "copy.log")
        known = {"touched": []}
    # Written first: what is begun here is looked at again.
    everything = sorted({*known["touched"], *touched})
    cache.write(state, json.dumps({"original": str(original), "touched": everything}))
    for file in everything:
        _take(wanted / file, linux / file)
    cache.write(state, json.dumps({"original": str(original), "touched": touched}))


def _take(source: Path, target: Path) -> None:
    """Make a file what `source` is, or remove it; its time changes only if its content does."""
    if not source.is_file():
        target.unlink(missing_ok=True)
        return
    data = source.read_bytes()
    if target.is_file() and target.read_bytes() == data:
        return
    # Not written into: it may be a link to the original.
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _publish(work: Path, target: Path, entry: Path, source: Path, tools: Tree) -> None:
    """Copy what is wanted of the kbuild output in `work` to `target`, to be called `entry`.

    Modules are built against it with the headers of `source`, which stays as it is.
    """
    output, kept = work / "build", target / "build"
    shutil.copy2(output / "arch/x86/boot/bzImage", target / "bzImage")
    shutil.copy2(output / "vmlinux", target / "vmlinux")
    shutil.copy2(output / ".config", target / "config")
    shutil.copy2(output / "include/config/kernel.release", target / "release")
    # The build's own programs are linked from objects that make looks at.
    rules = ["--include=/scripts/***", "--include=/tools/***"]
    rules += [f"--exclude={pattern}" for pattern in NOT_KEPT]
    log = target / "publish.log"
    tools.run(["rsync", "-a", *rules, f"{output}/", f"{kept}/"], what="kernel", log=log)
    # Both name their own folders; the Makefile since 6.13.
    makefile = kept / "Makefile"
    text = makefile.read_text().replace(str(output), str(entry / "build"))
    makefile.write_text(text.replace(str(work / "linux"), str(source)))
    (kept / "source").unlink()
    (kept / "source").symlink_to(source)
    (kept / "vmlinux").symlink_to("../vmlinux")
