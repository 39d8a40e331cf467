"""The kernel's own HMM tests, built unmodified from the source of the kernel that is booted."""

from pathlib import Path

from devmodel.build import cache, command
from devmodel.build.kernel import Kernel, compiler_version
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

NAME = "hmm-tests"
# mm since 6.4; it was vm before.
FOLDERS = ("tools/testing/selftests/mm", "tools/testing/selftests/vm")
# Helper files that newer series split off; linked where they exist.
HELPERS = ("vm_util.c", "hugepage_settings.c")


def hmm_tests(kernel: Kernel, reporter: Reporter) -> Path:
    """The test program for `kernel`, statically linked. BuildFailed without the tests' source."""
    source = kernel.build / "source" if (kernel.build / "source").exists() else kernel.build
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
    name = cache.key(kernel=kernel.identity, compiler=compiler_version(), layout=1)

    def build(target: Path) -> None:
        log = target / "build.log"
        headers = ["make", "-C", source, f"O={target / 'headers'}", "headers_install"]
        (target / "headers").mkdir()
        with reporter.step("building the kernel's HMM tests", 900) as step:
            command.run(
                [*headers, f"INSTALL_HDR_PATH={target / 'usr'}"],
                what="kernel headers",
                log=log,
                each_line=lambda _: step.advance(),
            )
            command.run(
                [
                    *("gcc", "-O2", "-static", "-D_GNU_SOURCE", "-isystem", target / "usr/include"),
                    *("-I", source, "-I", folder, "-I", source / "tools/testing/selftests"),
                    *("-o", target / NAME, folder / f"{NAME}.c", *helpers, "-lpthread"),
                ],
                what=NAME,
                log=log,
                cwd=folder,
            )

    return cache.obtain("selftests", name, build) / NAME
