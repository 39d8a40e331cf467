"""libdevmodel, installed into the cache as programs of users are built with it.

A folder with what `make install` puts below /usr: ``include/``, ``lib/libdevmodel.a``,
``lib/pkgconfig/libdevmodel.pc``, which may lie anywhere, and ``lib/python/libdevmodel``, the module
for guests that have Python.
"""

from pathlib import Path

import devmodel
from devmodel import paths
from devmodel.build import cache, modules, tree
from devmodel.build.tree import Tree
from devmodel.progress import Reporter

KIND = "libraries"
PYTHON = paths.GUEST / "python"


def sources() -> list[Path]:
    """What goes into it."""
    found = [path for part in ("lib", "uapi") for path in cache.tree_files(paths.GUEST / part)]
    module = [path for path in cache.tree_files(PYTHON) if path.suffix == ".py"]
    return [paths.GUEST / "Makefile", *found, *module]


def obtain(reporter: Reporter) -> Path:
    """The folder, built if it must be. HostNotReady or BuildFailed where it cannot be."""
    tools = tree.obtain(reporter)

    def build(target: Path) -> None:
        source = target / "source"
        modules.copy(sources(), source)
        tools.run(
            [
                *("make", "-C", source, "install", f"OUT={target / 'obj'}"),
                *(f"PREFIX={target}", f"VERSION={devmodel.__version__}"),
            ],
            what="libdevmodel",
            log=target / "build.log",
        )

    return cache.obtain(KIND, name(tools), build, on_wait=reporter.note)


def name(tools: Tree) -> str:
    """What it is called in the cache."""
    return cache.key(
        sources=cache.hash_files(sources(), paths.GUEST),
        compiler=tools.compiler,
        version=devmodel.__version__,
    )
