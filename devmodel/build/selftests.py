"""The kernel's own HMM tests, built unmodified from the source of the kernel that is booted.

A kernel that was built here has its source beside it, and its in-kernel test device as a module.
For the distribution's own kernel the source of the same version is fetched, and the module is
built from it against the kernel's headers.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import cache, modules, source, tree
from devmodel.build.kernel import Kernel
from devmodel.build.lock import Request
from devmodel.build.series import BACKPORTS
from devmodel.build.tools import Tools
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

NAME = "hmm-tests"
# mm since 6.4; it was vm before.
FOLDERS = ("tools/testing/selftests/mm", "tools/testing/selftests/vm")
# Helper files that newer series split off; linked where they exist.
HELPERS = ("vm_util.c", "hugepage_settings.c")
MODULE = "test_hmm"
MODULE_SOURCES = (f"lib/{MODULE}.c", f"lib/{MODULE}_uapi.h")


@dataclass(frozen=True)
class SelfTests:
    """The test program, statically linked, and the module if the guest image has none."""

    program: Path
    module: Path | None


def obtain(kernel: Kernel, reporter: Reporter) -> SelfTests:
    """The tests for `kernel`, built if they are not in the cache.

    BuildFailed without the tests' source; HostNotReady if that cannot be fetched.
    """
    tools = tree.obtain(reporter)
    inside = any(path.stem == MODULE for path in kernel.modules)

    def build(target: Path) -> None:
        where = kernel.source or _source_of(kernel, reporter)
        log = target / "build.log"
        with reporter.step("building the kernel's HMM tests", 900) as step:
            _program(where, target, log, tools, lambda _: step.advance())
            if not inside:
                folder = target / MODULE
                for path in MODULE_SOURCES:
                    copy = folder / path
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(where / path, copy)
                (folder / "lib/Kbuild").write_text(f"obj-m := {MODULE}.o\n")
                modules.external(kernel, folder / "lib", log, step)

    entry = cache.obtain("selftests", name(kernel, tools), build, on_wait=reporter.note)
    built = None if inside else entry / MODULE / "lib" / f"{MODULE}.ko"
    return SelfTests(entry / NAME, built)


def name(kernel: Kernel, tools: Tools) -> str:
    """What the tests for `kernel` are called in the cache."""
    return cache.key(kernel=kernel.identity, compiler=tools.compiler, layout=2)


def _source_of(kernel: Kernel, reporter: Reporter) -> Path:
    """Of the distribution's kernel: the version that its packages have."""
    return source.obtain(kernel.version, BACKPORTS, reporter, exact=kernel.packages).path


def request(kernel: Kernel) -> Request:
    """For the source of the distribution's kernel."""
    return source.request(kernel.version, BACKPORTS, kernel.packages)


def _program(
    source: Path, target: Path, log: Path, tools: Tools, each_line: Callable[[str], None]
) -> None:
    folders = [source / folder for folder in FOLDERS if (source / folder / f"{NAME}.c").exists()]
    if not folders:
        raise BuildFailed(
            f"{source} has no {NAME}.c", hint="the whole source tree is needed, with tools/testing"
        )
    folder = folders[0]
    helpers = [folder / helper for helper in HELPERS if (folder / helper).exists()]
    # Before the split, vm_util.c had nothing for these tests and needed more than they do.
    if folder.name == "vm":
        helpers = []
    (target / "headers").mkdir()
    install = ["make", "-C", source, f"O={target / 'headers'}", "headers_install"]
    tools.run(
        [*install, f"INSTALL_HDR_PATH={target / 'usr'}"],
        what="kernel headers",
        log=log,
        each_line=each_line,
        folders=[source],
    )
    tools.run(
        [
            *("gcc", "-O2", "-static", "-D_GNU_SOURCE", "-isystem", target / "usr/include"),
            *("-I", source, "-I", folder, "-I", source / "tools/testing/selftests"),
            *("-o", target / NAME, folder / f"{NAME}.c", *helpers, "-lpthread"),
        ],
        what=NAME,
        log=log,
        cwd=folder,
        folders=[source],
    )
