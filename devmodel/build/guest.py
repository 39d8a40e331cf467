"""Everything a VM boots, built or found in the cache."""

from dataclasses import dataclass
from pathlib import Path

from devmodel.build import image, kernel, modules
from devmodel.build.config import KernelConfig
from devmodel.build.kernel import Kernel
from devmodel.progress import Reporter


@dataclass(frozen=True)
class Built:
    """What there is to boot. `driver` is None in a checkout without one."""

    kernel: Kernel
    driver: Path | None
    programs: list[Path]
    image: Path


def build(config: KernelConfig, reporter: Reporter) -> Built:
    """Build what is not in the cache yet: kernel, driver, guest programs, image.

    BuildFailed with the end of the log; HostNotReady if a tool or package is missing.
    """
    built_kernel = kernel.obtain(config, reporter)
    driver = modules.driver(built_kernel, reporter)
    programs = modules.programs(reporter)
    return Built(
        built_kernel, driver, programs, image.obtain(built_kernel, driver, programs, reporter)
    )
