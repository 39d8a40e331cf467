"""The driver as the kernel's own tools judge it: checkpatch --strict, sparse, W=1."""

import contextlib
import shutil
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.build import kernel, modules, source, tree
from devmodel.build.config import KernelConfig
from devmodel.build.series import OWN, SERIES
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
# compat.h is the place that asks for a version.
IGNORED = {
    # An older interface may want less than the newest gives it.
    "compat.h": "LINUX_VERSION_CODE,CONSTANT_COMPARISON,MACRO_ARG_UNUSED",
    # Written by devmodel.abi, with C's own spelling so that programs can use it too.
    "devmodel_abi.h": "CAMELCASE",
    "devmodel.h": "CAMELCASE",
    # What TRACE_EVENT() looks like in every trace header of the kernel.
    "trace.h": "PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE,COMPLEX_MACRO",
}


SOURCES = [path for path in modules.driver_sources() if path.suffix in (".c", ".h")]


@pytest.fixture(scope="session")
def linux() -> Path:
    """The newest kernel's source."""
    series = SERIES[OWN[0]]
    return source.obtain(series.version, series.suite, QUIET).path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_checkpatch_is_content(path: Path, linux: Path, tmp_path: Path) -> None:
    command = ["scripts/checkpatch.pl", "--strict", "--no-summary", "--terse", "--root=.", "-f"]
    if path.name in IGNORED:
        command[1:1] = ["--ignore", IGNORED[path.name]]
    log = tmp_path / "log"
    with contextlib.suppress(BuildFailed):
        tree.obtain(QUIET).run(
            [*command, path], what=path.name, log=log, cwd=linux, folders=[paths.GUEST]
        )
    assert log.read_text().splitlines()[1:] == []


def test_sparse_and_extra_warnings_find_nothing(tmp_path: Path) -> None:
    built = kernel.obtain(KernelConfig(), QUIET)
    for path in modules.driver_sources():
        copy = tmp_path / path.relative_to(modules.DRIVER.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    folder = tmp_path / modules.DRIVER.name
    command = ["make", "-C", built.build, f"M={folder}", *modules.QUICK, "C=2", "W=1", "modules"]
    log = tmp_path / "log"
    built.tools.run(command, what="driver", log=log, folders=[tmp_path])
    # kbuild names the files of a module by their place in its folder.
    named = (str(tmp_path), *(path.name for path in SOURCES))
    said = [line for line in log.read_text().splitlines() if line.startswith(named)]
    assert said == []
