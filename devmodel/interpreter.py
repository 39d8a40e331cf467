"""Another Python that runs a module of this package, whatever lies in the current directory.

`python -m` looks there first, before the standard library: a copy.py or random.py of the user's
would be imported, and run, in its place. So devmodel's processes are started as

    python -P interpreter.py MODULE [ARGUMENT ...]

where this file, run as a program, takes the package from where it lies itself, be it checkout or
wheel and on the path or not. Nor does any folder that comes to the path later, as a file of device
programs may add its own, stand before the standard library: see `_StandardLibraryFirst`.
"""

import importlib.util
import runpy
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


def command(module: str) -> list[str]:
    """The command line that runs `module`, to be followed by its arguments."""
    return [sys.executable, "-P", __file__, module]


class _StandardLibraryFirst:
    """Finds the modules of the standard library in the standard library only."""

    def __init__(self) -> None:
        # Only the path says where its extensions are: sysconfig looks in a virtual environment.
        stdlib = sysconfig.get_path("stdlib")
        self._path = [p for p in sys.path if p == stdlib or Path(p).name == "lib-dynload"]

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib wants it; None leaves a module to the finders that follow."""
        if path is not None or name not in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, self._path, target)


def _run(module: str) -> None:
    # Behind those for built-in and frozen modules, which nothing shadows.
    at = sys.meta_path.index(PathFinder)
    sys.meta_path.insert(at, _StandardLibraryFirst())
    init = Path(__file__).resolve().with_name("__init__.py")
    spec = importlib.util.spec_from_file_location("devmodel", init)
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["devmodel"] = package
    spec.loader.exec_module(package)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    del sys.argv[0]
    _run(sys.argv[0])
