"""The guest kernel: the distribution's own, one built from its source, a user's tree or image."""

import contextlib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, disk, foreign, kconfig, own, packed, stock, tree
from devmodel.build.archive import NoSuchPackage
from devmodel.build.config import KernelConfig
from devmodel.build.series import OWN, SERIES
from devmodel.build.tools import HostTools, Tools
from devmodel.errors import ConfigError, HostNotReady
from devmodel.progress import Reporter

# Of a kernel with thousands of modules, those that a guest has use for, and what they need.
MODULES = (
    *("virtio_net", "virtio_rng", "virtio_blk", "virtio_pci", "loop", "brd", "zram", "ext4"),
    *("9p", "9pnet_virtio", "virtiofs", "overlay", "dev_dax", "kmem"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot, and to build modules against."""

    image: Path
    vmlinux: Path | None
    """for a debugger; a stock kernel has none"""
    build: Path
    """what external modules are built against"""
    config: Path
    release: str
    identity: str
    """changes when the kernel does: part of the keys of what is built against it"""
    modules: tuple[Path, ...]
    """for the guest image, some of them packed (.ko.xz)"""
    tools: Tools
    """what its modules are built with"""
    headers: Path
    """the tree whose include/ holds the headers that no configuration changes"""
    source: Path | None = None
    """its source tree, if it was built from one that is here"""
    packages: str = ""
    """the version of its packages, if it is the distribution's"""

    @property
    def version(self) -> str:
        """As in "7.2"."""
        return ".".join(self.release.split(".")[:2])

    @functools.cached_property
    def options(self) -> dict[str, str]:
        """Its configuration."""
        return kconfig.read(self.config)


def obtain(config: KernelConfig, reporter: Reporter) -> Kernel:
    """The kernel that `config` asks for, fetched or built if it is not in the cache.

    Where the archive has no stock kernel that will do, one is built from source, and that is said.
    """
    if config.tree is not None:
        return _tree(config.tree, reporter, again=config.make)
    if config.image is not None:
        return _image(config.image, config.modules, reporter)
    if config.source is not None:
        return _own(*own.obtain(config, reporter), reporter)
    try:
        found = stock.obtain(config.series, reporter)
    except HostNotReady as error:
        return _instead(config, error, reporter)
    if not found.release.known:
        reporter.note(f"Linux {found.release.name} is untried: the driver's tests may fail on it")
    return _stock(found, reporter)


def find(config: KernelConfig) -> Kernel | None:
    """The kernel if it is here already; nothing is fetched or built."""
    quiet = Reporter(quiet=True)
    if config.is_users or tree.find() is None:
        return None
    if config.source is not None:
        built = own.find(config)
        return None if built is None else _own(*built, quiet)
    found = stock.find(config.series)
    return None if found is None else _stock(found, quiet)


def takes_minutes(config: KernelConfig) -> bool:
    """Whether it would have to be built from source first."""
    return config.source is not None and find(config) is None


def _instead(config: KernelConfig, error: HostNotReady, reporter: Reporter) -> Kernel:
    """A kernel from source in place of a stock one. Raises `error` if there is none, either."""
    version = None if config.series is None else SERIES[config.series].version
    for name in OWN:
        other = KernelConfig(series=name)
        if version not in (None, SERIES[name].version):
            continue
        # Without a network one that was built before will do.
        if isinstance(error, NoSuchPackage) or own.find(other) is not None:
            reporter.note(f"{error.message}; {name} from source instead")
            with contextlib.suppress(NoSuchPackage):
                return _own(*own.obtain(other, reporter), reporter)
    raise error


def _stock(found: stock.Stock, reporter: Reporter) -> Kernel:
    uname, root = found.release.uname, found.path / "root"
    elf = found.path / "vmlinux"
    return Kernel(
        image=elf if elf.exists() else found.path / "bzImage",
        vmlinux=None,
        build=root / f"usr/src/linux-headers-{uname}",
        config=found.path / "config",
        release=uname,
        identity=found.lock.digest,
        modules=tuple(select(root / "usr/lib/modules" / uname / "kernel", MODULES)),
        tools=tree.obtain(reporter),
        headers=root / f"usr/src/linux-headers-{found.release.name}-common",
        packages=found.lock.version(f"linux-headers-{uname}"),
    )


def _own(entry: Path, identity: str, reporter: Reporter) -> Kernel:
    source = (entry / "build/source").resolve()
    return Kernel(
        image=entry / "vmlinux",
        vmlinux=entry / "vmlinux",
        build=entry / "build",
        config=entry / "config",
        release=(entry / "release").read_text().strip(),
        identity=identity,
        modules=tuple(built_modules(entry / "build")),
        tools=tree.obtain(reporter),
        headers=source,
        source=source,
    )


def _image(image: Path, modules: Path | None, reporter: Reporter) -> Kernel:
    """A user's image, as it is."""
    parts = foreign.find(image, modules)
    kconfig.check(parts.config)
    build, source = parts.build, parts.build / "source"
    # The tools see the cache, and no more of this machine's /usr than is theirs.
    cached = build.is_relative_to(paths.cache().resolve())
    stat = image.stat()
    return Kernel(
        image=image,
        vmlinux=None,
        build=build,
        config=parts.config,
        release=parts.release,
        identity=cache.key(image=str(image), built=stat.st_mtime_ns, build=str(build)),
        modules=tuple(select(parts.modules / "kernel", MODULES)),
        tools=tree.obtain(reporter) if cached else HostTools(),
        headers=source.resolve() if source.exists() else build,
    )


def _tree(path: Path, reporter: Reporter, *, again: bool) -> Kernel:
    """A user's tree: as it is if it is built, else built beside, in the cache.

    `again`: what was built in its own folder is built there anew, as far as something changed.
    """
    image = path / "arch/x86/boot/bzImage"
    if again and (path / ".config").is_file():
        _make_in_place(path, reporter)
    if image.is_file():
        kconfig.check(path / ".config")
        stat = image.stat()
        return _built(path, HostTools(), cache.key(path=str(path), built=stat.st_mtime_ns))
    if not (path / "scripts/kconfig/merge_config.sh").is_file():
        raise ConfigError(
            f"{path} is neither a built kernel nor a kernel source tree",
            hint="name the top folder of one",
        )
    if (path / ".config").exists() or (path / "include/config").exists():
        # kbuild refuses to build elsewhere from a tree that was configured in place.
        raise ConfigError(
            f"{path} is configured but not built",
            hint=f"run `make -C {path} bzImage modules`, or `make -C {path} mrproper`",
        )
    # Someone works in this tree: its build folder is kept, and make finds out what changed.
    target = paths.cache() / "work" / f"tree-{cache.key(tree=str(path))}"
    output = target / "build"
    output.mkdir(parents=True, exist_ok=True)
    tools = tree.obtain(reporter)
    with cache.locked(target, reporter.note):
        log = target / "build.log"
        log.unlink(missing_ok=True)
        new = not (output / "vmlinux").exists()
        disk.require(target, own.DISK if new else own.AGAIN_DISK, f"building {path}")
        if not (output / ".config").exists():
            own.merge(path, output, [own.FRAGMENTS / "base.config"], log, tools, [path])
        else:
            # Another commit may have other options, and nobody answers questions about them.
            own.settle(path, output, log, tools, [path])
        lines = SERIES[OWN[0]].build_lines
        words = ["LOCALVERSION="]
        own.make(path, output, log, "the kernel", lines, reporter, tools, words, [path])
        # Before the next one's make may take it away to make it anew.
        stat = (output / "arch/x86/boot/bzImage").stat()
        return _built(output, tools, cache.key(path=str(path), built=stat.st_mtime_ns))


def _make_in_place(path: Path, reporter: Reporter) -> None:
    """As whoever built it would."""
    # Its log and its lock are ours.
    target = paths.cache() / "work" / f"tree-{cache.key(tree=str(path))}"
    target.mkdir(parents=True, exist_ok=True)
    with cache.locked(target, reporter.note):
        log = target / "build.log"
        log.unlink(missing_ok=True)
        disk.require(path, own.AGAIN_DISK, f"building {path}")
        own.settle(path, path, log, HostTools())
        lines = SERIES[OWN[0]].build_lines
        own.make(path, path, log, "the kernel", lines, reporter, HostTools())


def _built(output: Path, tools: Tools, identity: str) -> Kernel:
    link = output / "source"
    source = link.resolve() if link.exists() else output
    return Kernel(
        image=output / "arch/x86/boot/bzImage",
        vmlinux=output / "vmlinux",
        build=output,
        config=output / ".config",
        release=(output / "include/config/kernel.release").read_text().strip(),
        identity=identity,
        modules=tuple(built_modules(output)),
        tools=tools,
        headers=source,
        source=source,
    )


def built_modules(build: Path) -> list[Path]:
    """The modules of a kernel build, as kbuild lists them (.ko or .o, by the kernel's age)."""
    order = build / "modules.order"
    if not order.exists():
        return []
    names = [Path(line).with_suffix(".ko") for line in order.read_text().split()]
    return sorted(build / name for name in names if (build / name).exists())


def select(folder: Path, names: Iterable[str]) -> list[Path]:
    """The modules called `names` below `folder`, as far as there are, and all that they need."""
    there = {packed.module_name(path): path for path in folder.rglob("*.ko*")}
    chosen: dict[str, Path] = {}
    queue = [name for name in names if name in there]
    while queue:
        name = queue.pop()
        if name not in chosen:
            chosen[name] = there[name]
            match = re.search(rb"\0depends=([^\0]*)\0", b"\0" + packed.module(there[name]))
            needs = match[1].decode().split(",") if match else []
            queue += [need for need in needs if need in there]
    return sorted(chosen.values())
