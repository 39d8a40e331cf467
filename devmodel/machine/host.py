"""Whether this host can do what devmodel needs, and the remedy where it cannot."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from devmodel import paths, sizes
from devmodel.build import disk, emulator, fetch, kernel, mirror, own, sandbox, tree
from devmodel.build.config import KernelConfig
from devmodel.errors import HostNotReady
from devmodel.machine import accel
from devmodel.machine.config import MachineConfig

PYTHON = (3, 11)
FIRST_DISK = 2 << 30
RUN_DISK = 1 << 30
# What the first run fetches, and how long that takes with a mirror near by, unpacking included.
TOOLS_DOWNLOAD, TOOLS_SECONDS = 97_000_000, 10
QEMU_DOWNLOAD, QEMU_SECONDS = 38_000_000, 5
KERNEL_DOWNLOAD, KERNEL_SECONDS = 66_000_000, 5
LEAST_MEMORY = 2 << 30
# Stands for the tools before there are any.
ROOT = Path("/")
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


def available_memory(meminfo: str) -> int:
    """MemAvailable of /proc/meminfo's text in bytes; 0 if it does not say."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def wanted_memory(config: MachineConfig) -> int:
    """Bytes that a VM takes at most: RAM, HBM, and what is around them."""
    return config.memory + sum(device.hbm_size for device in config.devices) + OVERHEAD


def fitting(config: MachineConfig) -> int:
    """How many such VMs there are memory and processors for, one at least."""
    free = available_memory(Path("/proc/meminfo").read_text())
    processors = len(os.sched_getaffinity(0))
    return max(1, min(free // wanted_memory(config), processors // config.cpus))


def require_memory(config: MachineConfig) -> None:
    """HostNotReady if the guest's RAM and HBM do not fit into the host's free memory."""
    wanted = wanted_memory(config)
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
        _mirror,
        _sandbox,
        _tools,
        _qemu,
        _kernel,
        _disk,
        _memory,
        _kvm,
    )
    return [check() for check in checks]


def to_fetch() -> int:
    """Bytes that the first run has to download, about."""
    missing = 0
    if tree.find() is None:
        missing += TOOLS_DOWNLOAD
    if kernel.find(KernelConfig()) is None:
        missing += KERNEL_DOWNLOAD
    if emulator.sound_host() is None and emulator.find_tree() is None:
        missing += QEMU_DOWNLOAD
    return missing


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


def _mirror() -> Check:
    """Where packages come from, asked only if some are missing."""
    wanted = to_fetch()
    try:
        uri = mirror.uri()
        if wanted:
            fetch.text(f"{uri}/dists/{tree.SUITES[0]}/InRelease")
    except HostNotReady as error:
        verdict = Verdict.FAIL if wanted else Verdict.NOTE
        return Check("mirror", verdict, error.message, error.hint)
    if not wanted:
        return Check("mirror", Verdict.OK, f"{uri}, not needed: everything is here")
    return Check("mirror", Verdict.OK, f"{uri}, {wanted / 1e6:.0f} MB to fetch")


def _sandbox() -> Check:
    if shutil.which("tar") is None:
        return Check("isolation", Verdict.FAIL, "no tar", "install tar")
    found = tree.find()
    try:
        return Check("isolation", Verdict.OK, f"by {sandbox.choose(found.path if found else ROOT)}")
    except HostNotReady as error:
        if found is None and shutil.which("setsid"):
            # It comes with the tools; whether it may trace is seen then.
            about = f"{error.message}; builds are traced by proot, which takes longer"
            return Check("isolation", Verdict.NOTE, about, error.hint)
        return Check("isolation", Verdict.FAIL, error.message, error.hint)


def _tools() -> Check:
    found = tree.find()
    if found is None:
        about = f"not here yet: {TOOLS_DOWNLOAD / 1e6:.0f} MB to fetch, some {TOOLS_SECONDS} s"
        return Check("tools", Verdict.NOTE, about)
    return Check("tools", Verdict.OK, f"{found.compiler} in {found.path}")


def _qemu() -> Check:
    found = emulator.sound_host() or emulator.find_tree()
    if found is not None:
        where = "this machine's" if found.origin == "host" else "from the cache"
        return Check("qemu", Verdict.OK, f"{'.'.join(map(str, found.version))}, {where}")
    about = f"none here that will do: {QEMU_DOWNLOAD / 1e6:.0f} MB to fetch, some {QEMU_SECONDS} s"
    return Check("qemu", Verdict.NOTE, about)


def _kernel() -> Check:
    found = kernel.find(KernelConfig())
    if found is not None:
        return Check("kernel", Verdict.OK, f"{found.release} in {found.image.parent}")
    about = f"none here: Debian's is fetched, {KERNEL_DOWNLOAD / 1e6:.0f} MB, "
    return Check("kernel", Verdict.NOTE, f"{about}some {KERNEL_SECONDS} s; see devmodel kernels")


def _disk() -> Check:
    cache = paths.cache()
    needed = FIRST_DISK if to_fetch() else RUN_DISK
    free = disk.free(cache)
    found = f"{sizes.rounded(free)} free in {cache}, {sizes.rounded(needed)} needed"
    if free < needed:
        return Check("disk", Verdict.FAIL, found, disk.REMEDY)
    return Check("disk", Verdict.OK, f"{found}; a kernel from source takes {own.DISK >> 30} GiB")


def _memory() -> Check:
    free = available_memory(Path("/proc/meminfo").read_text())
    found = f"{sizes.rounded(free)} free, {sizes.rounded(LEAST_MEMORY)} needed"
    if free < LEAST_MEMORY:
        remedy = f"end something; a guest takes {sizes.show(1 << 30)} RAM and its HBM"
        return Check("memory", Verdict.FAIL, found, remedy)
    return Check("memory", Verdict.OK, found)


def _kvm() -> Check:
    program = emulator.sound_host() or emulator.find_tree()
    if program is None:
        return Check("kvm", Verdict.NOTE, "not known before there is a QEMU")
    obstacle = accel.kvm_obstacle(program)
    if obstacle is None:
        return Check("kvm", Verdict.OK, "works")
    return Check("kvm", Verdict.NOTE, f"{obstacle}; TCG is used, which is slower")
