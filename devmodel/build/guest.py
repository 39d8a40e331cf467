"""Everything a VM boots, built or found in the cache."""

from dataclasses import dataclass
from pathlib import Path

from devmodel.build import emulator, image, kernel, modules, tree
from devmodel.build.config import KernelConfig
from devmodel.build.emulator import Emulator
from devmodel.build.kernel import Kernel
from devmodel.build.tree import Tree
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


def build(config: KernelConfig, reporter: Reporter, *, qemu: str = "auto") -> Built:
    """Fetch and build what is not in the cache yet: tools, QEMU, kernel, driver, programs, image.

    BuildFailed with the end of the log; HostNotReady, with the remedy, for what cannot be had.
    """
    program = emulator.obtain(qemu, reporter)
    tools = tree.obtain(reporter)
    booted = kernel.obtain(config, reporter)
    driver = modules.driver(booted, reporter)
    programs = modules.programs(reporter)
    packed = image.obtain(booted, driver, programs, tools, reporter)
    return Built(booted, driver, programs, packed, program, tools)
