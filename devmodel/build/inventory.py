"""What lies in the cache, and why; and removing what nothing uses.

Used is what would be found by a build of today: the trees and sources that the locks name, every
kernel of `devmodel kernels` as devmodel would build it now, and what is built against those.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devmodel import paths
from devmodel.build import (
    cache,
    debs,
    emulator,
    image,
    kernel,
    library,
    modules,
    own,
    root,
    selftests,
    source,
    stock,
    tree,
)
from devmodel.build.config import NAMED, KernelConfig
from devmodel.build.kernel import Kernel
from devmodel.build.tree import Tree

# Kinds whose files serve to go on with a download, and to resolve again.
PASSING = {"debs": "downloads, unpacked by now or to be gone on with", "lists": "archive indexes"}


@dataclass(frozen=True)
class Entry:
    """A folder or file of the cache."""

    path: Path
    bytes: int
    why: str
    """what uses it; empty if nothing does"""

    @property
    def name(self) -> str:
        """Below the cache."""
        return str(self.path.relative_to(paths.cache()))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"name": self.name, "path": str(self.path), "bytes": self.bytes, "why": self.why}


def used() -> dict[Path, str]:
    """What a build of today would find, and what for."""
    found: dict[Path, str] = {}
    for request, why in ((tree.REQUEST, "what builds"), (emulator.REQUEST, "QEMU")):
        if (there := debs.find(tree.KIND, request, prefix=request.name)) is not None:
            found[there[0]] = why
    tools = tree.find()
    if tools is None:
        return found
    found.update(root.there())
    programs = cache.folder("programs", modules.programs_name(tools))
    found[programs] = "the guest's programs"
    found[cache.folder(library.KIND, library.name(tools))] = "what programs of users are built with"
    if (cplusplus := tree.find_cplusplus(tools)) is not None:
        found[cplusplus] = "what builds C++"
    for name, config in NAMED.items():
        if config.source is not None:
            uses = {**dict.fromkeys(_sources(config), f"source of {name}")}
            uses[cache.folder("work", own.name(config))] = f"{name}, to build it again quickly"
            if (built := own.find(config)) is not None:
                uses[built[0]] = f"kernel {name}"
        else:
            fetched = stock.find(config.series)
            uses = {} if fetched is None else {fetched.path: f"kernel {name}"}
        if (booted := kernel.find(config)) is not None:
            uses.update(dict.fromkeys(_built_for(booted, tools, programs), f"for kernel {name}"))
        for path, why in uses.items():
            found[path] = f"{found[path]}, {why}" if path in found else why
    return found


def _sources(config: KernelConfig) -> Iterator[Path]:
    """What an own kernel is built from."""
    assert config.source is not None
    version = config.source.version
    request = source.request(version, config.source.suite)
    there = debs.find(source.KIND, request, prefix=source.package(version))
    if there is not None:
        yield there[0]
        original = there[0] / source.package(version)
        if patches := own.patches(config):
            yield cache.folder(source.KIND, source.patched_name(original, patches))


def entries(more: dict[Path, str]) -> list[Entry]:
    """Everything in the cache; `more` is what others than builds use."""
    reasons = {**used(), **more}
    found = []
    for kind in sorted(paths.cache().glob("*")):
        if kind.name in PASSING:
            found.append(Entry(kind, cache.size(kind), PASSING[kind.name]))
        elif kind.name == "locks":
            found.append(Entry(kind, cache.size(kind), "which versions were resolved"))
        else:
            found += [
                Entry(path, cache.size(path), reasons.get(path, ""))
                for path in sorted(kind.iterdir())
                if not path.name.endswith(".lock")
            ]
    return found


def prune(found: list[Entry], *, everything: bool) -> Iterator[Entry]:
    """Remove what nothing uses, and downloads, or all of `found`; each as it is gone.

    What another process builds or waits for at the moment stays.
    """
    for entry in found:
        passing = entry.path.name in PASSING
        if entry.why and not passing and not everything:
            continue
        # An entry that is being built has its lock by its final name.
        final = entry.path.with_name(entry.path.name.removeprefix(".").removesuffix(".tmp"))
        with cache.locked_now(final) as alone:
            if alone:
                shutil.rmtree(entry.path)
                yield entry


def _built_for(booted: Kernel, tools: Tree, programs: Path) -> Iterator[Path]:
    driver = cache.folder("drivers", modules.driver_name(booted))
    yield driver
    yield cache.folder("selftests", selftests.name(booted, tools))
    module = driver / "guest/driver" / modules.MODULE
    if module.is_file() and programs.is_dir():
        name = image.name(booted, module, modules.built_programs(programs), tools)
        yield cache.folder("images", name)
    if booted.packages:
        request = selftests.request(booted)
        there = debs.find(source.KIND, request, prefix=source.package(booted.version))
        if there is not None:
            yield there[0]
