"""What goes into a cell's key: two cells with one key are the same run of the same thing.

QEMU and how it runs the guest's instructions are not in it: they belong to the machine that a cell
happens to run on, and a row tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, image, kernel, modules, tree
from devmodel.build.config import KernelConfig
from devmodel.build.kernel import Kernel
from devmodel.build.tree import Tree
from devmodel.experiment import corpus
from devmodel.experiment.sweep.grid import Cell
from devmodel.machine.config import MachineConfig
from devmodel.progress import Reporter

# Raised when a run comes to mean something else.
LAYOUT = 1
# Those that play the device.
DEVICE = ("abi", "agent", "device", "link")

Keys = Callable[[Cell], str]


def of_machine(config: MachineConfig, booted: Kernel, tools: Tree) -> str:
    """Changes when the machine's description, or anything of ours that it boots, does."""
    described = config.model_dump(mode="json", exclude={"name", "kernel"})
    for device, told in zip(config.devices, described["devices"], strict=True):
        told["programs"] = [_file(path) for path in device.programs]
    sources = [path for part in DEVICE for path in sorted((paths.PACKAGE / part).rglob("*.py"))]
    return cache.key(
        layout=LAYOUT,
        machine=described,
        kernel=booted.identity,
        driver=modules.driver_name(booted),
        programs=modules.programs_name(tools),
        image=cache.hash_files(cache.tree_files(image.FILES), image.FILES),
        tools=tools.lock.digest,
        device=cache.hash_files(sources, paths.PACKAGE),
    )


def find(config: MachineConfig) -> str | None:
    """The same of what is here already; None if something would have to be fetched or built."""
    tools, booted = tree.find(), find_kernel(config.kernel)
    return None if tools is None or booted is None else of_machine(config, booted, tools)


def find_kernel(config: KernelConfig) -> Kernel | None:
    """The kernel if it is here, a tree of the user's included."""
    if config.tree is not None and (config.tree / "arch/x86/boot/bzImage").is_file():
        return kernel.obtain(config, Reporter(quiet=True))
    return kernel.find(config)


def keys(machine: str, text: Kernel | None) -> Keys:
    """The key of each cell of a machine, which `of_machine` knows by this name.

    `text` is whose headers are the text of workloads that want some. A file is read once.
    """
    files: dict[Path, Sequence[str]] = {}

    def file(path: Path) -> Sequence[str]:
        if path not in files:
            files[path] = _file(path)
        return files[path]

    def key(cell: Cell) -> str:
        workload = cell.workload
        expect = workload.expect.model_dump(mode="json", exclude={"stdout_file"})
        if workload.expect.stdout_file is not None:
            expect["stdout_file"] = file(workload.expect.stdout_file)
        put = [
            (
                str(item.target),
                file(item.host) if item.host else corpus.name(text) if text else "",
            )
            for item in workload.put
        ]
        return cache.key(
            machine=machine,
            # The folder that it runs in.
            name=workload.title,
            words=workload.words,
            files=put,
            reports=workload.reports,
            expect=expect,
            seconds=cell.seconds,
            # What makes two runs of the same words two.
            seed=cell.point.seed,
            size=cell.point.size,
            run=cell.point.run,
        )

    return key


def _file(path: Path) -> Sequence[str]:
    return path.name, cache.hash_files([path], path.parent)
