"""Everything a VM boots, built or found in the cache."""

from dataclasses import dataclass
from pathlib import Path

from devmodel.build import (
    debs,
    emulator,
    image,
    kernel,
    lock,
    modules,
    source,
    stock,
    tree,
)
from devmodel.build import root as roots
from devmodel.build.config import KernelConfig
from devmodel.build.emulator import Emulator
from devmodel.build.kernel import Kernel
from devmodel.build.root import RootConfig
from devmodel.build.tree import Tree
from devmodel.errors import BuildFailed, KernelBroken
from devmodel.progress import Reporter


@dataclass(frozen=True)
class Built:
    """What there is to boot, and to boot it with. `driver` is None in a checkout without one."""

    kernel: Kernel
    driver: Path | None
    programs: list[Path]
    image: Path
    emulator: Emulator
    tools: Tree
    root: Path | None = None
    """the folder that becomes the guest's /; None for the image's own"""


def update(
    config: KernelConfig,
    reporter: Reporter,
    *,
    qemu: str = "auto",
    root: RootConfig | None = None,
) -> None:
    """Resolve anew what `build` would take from the archive, and fetch what is newer.

    HostNotReady if that cannot be done; what was there before stays then, and is used.
    """
    requests = [tree.REQUEST]
    if emulator.comes_unpacked(qemu):
        requests.append(emulator.REQUEST)
    if config.source is not None:
        requests.append(source.request(config.source.version, config.source.suite))
    elif not config.is_users:
        requests.append(stock.request(config.series))
    if root is not None and root.debian is not None:
        requests.append(roots.request(root.debian))
    for request in requests:
        before, now = lock.find(request), lock.resolve(request)
        if before is not None and before.packages == now.packages:
            reporter.note(f"{request.name}: nothing newer")
        else:
            # First the packages, then the lock: without a network the old one is still good.
            debs.fetch_all(now, reporter)
            reporter.note(f"{request.name}: {lock.difference(before, now)}")
        lock.keep(now)


def build(
    config: KernelConfig,
    reporter: Reporter,
    *,
    qemu: str = "auto",
    root: RootConfig | None = None,
) -> Built:
    """Fetch and build what is not in the cache yet: tools, QEMU, kernel, driver, programs, image.

    BuildFailed with the end of the log; KernelBroken if it is the user's kernel, or the driver for
    that; HostNotReady, with the remedy, for what cannot be had.
    """
    program = emulator.obtain(qemu, reporter)
    tools = tree.obtain(reporter)
    try:
        booted = kernel.obtain(config, reporter)
        driver = modules.driver(booted, reporter)
    except BuildFailed as error:
        if not config.is_users:
            raise
        raise KernelBroken(
            error.message, hint=error.hint, details=error.details, log=error.log
        ) from error
    programs = modules.programs(reporter)
    packed = image.obtain(booted, driver, programs, tools, reporter)
    folder = None if root is None else roots.obtain(root, reporter)
    return Built(booted, driver, programs, packed, program, tools, folder)
