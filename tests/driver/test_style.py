"""The driver as the kernel's own tools judge it: checkpatch --strict, sparse, W=1."""

import shutil
import subprocess
from pathlib import Path

import pytest

from devmodel.build import kernel, modules, source
from devmodel.build.config import KernelConfig
from devmodel.build.series import DEFAULT, SERIES
from devmodel.progress import Reporter

# compat.h is the place that asks for a version.
IGNORED = {
    "compat.h": "LINUX_VERSION_CODE,CONSTANT_COMPARISON",
    # Written by devmodel.abi, with C's own spelling so that programs can use it too.
    "devmodel_abi.h": "CAMELCASE",
    "devmodel.h": "CAMELCASE",
    # What TRACE_EVENT() looks like in every trace header of the kernel.
    "trace.h": "PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE,COMPLEX_MACRO",
}


SOURCES = [path for path in modules.driver_sources() if path.suffix in (".c", ".h")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_checkpatch_is_content(path: Path) -> None:
    quiet = Reporter(quiet=True)
    tree = source.unpack(source.tarball(SERIES[DEFAULT], quiet), quiet)
    command = ["scripts/checkpatch.pl", "--strict", "--no-summary", "--terse", "--no-tree", "-f"]
    if path.name in IGNORED:
        command[1:1] = ["--ignore", IGNORED[path.name]]
    done = subprocess.run([*command, path], cwd=tree, capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0


def test_sparse_and_extra_warnings_find_nothing(tmp_path: Path) -> None:
    assert shutil.which("sparse"), "apt-get install sparse"
    built = kernel.obtain(KernelConfig(), Reporter(quiet=True))
    for path in modules.driver_sources():
        copy = tmp_path / path.relative_to(modules.DRIVER.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    folder = tmp_path / modules.DRIVER.name
    command = ["make", "-C", built.build, f"M={folder}", "C=2", "W=1", "modules"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = [
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith(str(tmp_path))
    ]
    assert done.returncode == 0, done.stderr
    assert said == []
