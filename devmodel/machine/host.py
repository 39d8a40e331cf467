"""Whether this host can do what devmodel needs, and the remedy where it cannot."""

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from devmodel import paths, sizes
from devmodel.build import disk
from devmodel.errors import HostNotReady
from devmodel.machine import accel, qemu
from devmodel.machine.config import MachineConfig

PACKAGES = paths.GUEST / "packages.txt"
PYTHON = (3, 11)
BUILD_DISK = 6 << 30
RUN_DISK = 1 << 30
LEAST_MEMORY = 2 << 30
# What agent, QEMU and the host's own work take beside the guest's RAM and HBM.
OVERHEAD = 256 << 20


class Verdict(StrEnum):
    """How a check went. NOTE is good to know and no obstacle."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `remedy` is empty unless it failed."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def packages() -> list[str]:
    """The distribution packages that devmodel needs: guest/packages.txt without its comments."""
    lines = (line.partition("#")[0].strip() for line in PACKAGES.read_text().splitlines())
    return [line for line in lines if line]


def missing_packages() -> list[str] | None:
    """Those that are not installed; None on a host without dpkg, where they cannot be told."""
    if shutil.which("dpkg-query") is None:
        return None
    wanted = packages()
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *wanted]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith("ii ")}
    return [name for name in wanted if name not in installed]


def available_memory(meminfo: str) -> int:
    """MemAvailable of /proc/meminfo's text in bytes; 0 if it does not say."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def require_memory(config: MachineConfig) -> None:
    """HostNotReady if the guest's RAM and HBM do not fit into the host's free memory."""
    wanted = config.memory + sum(device.hbm_size for device in config.devices) + OVERHEAD
    free = available_memory(Path("/proc/meminfo").read_text())
    if free and wanted > free:
        raise HostNotReady(
            f"the guest wants {sizes.rounded(wanted)} of memory, "
            f"and {sizes.rounded(free)} are free",
            hint="lower memory or hbm, or end something",
        )


def check_all() -> list[Check]:
    """Every check, in the order in which a person would mend them."""
    checks: tuple[Callable[[], Check], ...] = (
        _python,
        _libraries,
        _packages,
        _qemu,
        _disk,
        _memory,
        _kvm,
    )
    return [check() for check in checks]


def _python() -> Check:
    version = tuple(sys.version_info[:3])
    found = ".".join(map(str, version))
    if version < PYTHON:
        return Check("python", Verdict.FAIL, found, "install Python 3.11 or newer")
    return Check("python", Verdict.OK, found)


def _libraries() -> Check:
    """The Python packages that pyproject.toml asks for."""
    missing = []
    for requirement in importlib.metadata.requires("devmodel") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(">")[0].split("=")[0].strip()
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        shown = " ".join(missing)
        return Check("libraries", Verdict.FAIL, f"missing: {shown}", f"pip install {shown}")
    return Check("libraries", Verdict.OK, "all there")


def _packages() -> Check:
    missing = missing_packages()
    if missing is None:
        needed = ["gcc", "make", "flex", "bison", "bc", "perl", "xz", "lz4", "depmod", "dropbear"]
        absent = [program for program in needed if shutil.which(program) is None]
        if absent:
            remedy = f"install {' '.join(absent)}; on Debian {PACKAGES.name} names the packages"
            return Check("packages", Verdict.FAIL, f"no {', '.join(absent)}", remedy)
        return Check("packages", Verdict.NOTE, "no dpkg here; the programs looked for are there")
    if missing:
        shown = " ".join(missing)
        remedy = f"apt-get install --no-install-recommends {shown}"
        return Check("packages", Verdict.FAIL, f"missing: {shown}", remedy)
    return Check("packages", Verdict.OK, f"all {len(packages())} installed")


def _qemu() -> Check:
    try:
        version = qemu.version()
    except HostNotReady as error:
        return Check("qemu", Verdict.FAIL, error.message, error.hint)
    return Check("qemu", Verdict.OK, ".".join(map(str, version)))


def _disk() -> Check:
    cache = paths.cache()
    built = any((cache / "kernels").glob("*/bzImage"))
    needed = RUN_DISK if built else BUILD_DISK
    free = disk.free(cache)
    found = f"{sizes.rounded(free)} free in {cache}, {sizes.rounded(needed)} needed"
    if free < needed:
        return Check("disk", Verdict.FAIL, found, disk.REMEDY)
    return Check("disk", Verdict.OK, found)


def _memory() -> Check:
    free = available_memory(Path("/proc/meminfo").read_text())
    found = f"{sizes.rounded(free)} free, {sizes.rounded(LEAST_MEMORY)} needed"
    if free < LEAST_MEMORY:
        remedy = f"end something; a guest takes {sizes.show(1 << 30)} RAM and its HBM"
        return Check("memory", Verdict.FAIL, found, remedy)
    return Check("memory", Verdict.OK, found)


def _kvm() -> Check:
    obstacle = accel.kvm_obstacle()
    if obstacle is None:
        return Check("kvm", Verdict.OK, "works")
    return Check("kvm", Verdict.NOTE, f"{obstacle}; TCG is used, which is slower")
