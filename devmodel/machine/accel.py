"""KVM or TCG: chosen by what the host really can do.

/dev/kvm alone says little: in nested or restricted environments it may exist and not work. So
KVM is used where the processor has the flag, the device opens, and a probe guest runs.
"""

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from devmodel.build.emulator import Emulator
from devmodel.errors import HostNotReady
from devmodel.machine.config import Accel

PROBE_SECONDS = 5
PROBE_ACCEL = ("kvm", "host")
# Writes a zero to the debug-exit port: the whole probe guest, as a boot sector would run it.
#   mov al, 0 ; out 0xf4, al ; hlt
_PROBE_CODE = bytes([0xB0, 0x00, 0xE6, 0xF4, 0xF4])
_PROBE_EXIT = 1  # isa-debug-exit: (value << 1) | 1


@dataclass(frozen=True)
class Accelerator:
    """How QEMU runs guest code, and why."""

    name: str
    reason: str

    @property
    def cpu(self) -> str:
        """QEMU's -cpu. Under TCG all it can emulate, but for what slows it down and nobody uses."""
        return "host" if self.name == "kvm" else "max,la57=off"


def choose(wanted: Accel, emulator: Emulator) -> Accelerator:
    """The accelerator for `wanted`. HostNotReady if KVM was asked for by name and does not work."""
    if wanted is Accel.TCG:
        return Accelerator("tcg", "asked for")
    obstacle = kvm_obstacle(emulator)
    if obstacle is None:
        return Accelerator("kvm", "works here")
    if wanted is Accel.KVM:
        raise HostNotReady(f"KVM does not work: {obstacle}", hint="use accel: auto or tcg")
    return Accelerator("tcg", f"no KVM: {obstacle}")


@cache
def kvm_obstacle(emulator: Emulator) -> str | None:
    """Why KVM cannot be used here, or None if it can."""
    device = Path("/dev/kvm")
    if not device.exists():
        return "there is no /dev/kvm"
    flags = cpu_flags(Path("/proc/cpuinfo").read_text())
    if not flags & {"svm", "vmx"}:
        return "the processor shows neither svm nor vmx"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened; join the group kvm"
    return _probe(emulator)


def cpu_flags(cpuinfo: str) -> set[str]:
    """The flags of the first processor in /proc/cpuinfo's text."""
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def _probe(emulator: Emulator) -> str | None:
    """Run a guest of five bytes, for a few seconds at most."""
    # At the reset vector, mapped there as a 64 KiB "BIOS".
    rom = bytearray(b"\xf4" * 65536)
    rom[0xFFF0 : 0xFFF0 + len(_PROBE_CODE)] = _PROBE_CODE
    fd = os.memfd_create("devmodel-probe", 0)
    try:
        os.write(fd, rom)
        line = [*emulator.argv, "-nodefaults", "-no-user-config", "-display", "none"]
        name, cpu = PROBE_ACCEL
        line += ["-machine", f"pc,accel={name}", "-cpu", cpu, "-m", "2M"]
        line += ["-bios", f"/proc/self/fd/{fd}", "-device", "isa-debug-exit,iobase=0xf4"]
        try:
            done = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                pass_fds=[fd],
                timeout=PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"a probe guest did not end within {PROBE_SECONDS} s"
        except OSError as error:
            return f"no probe guest: {error.strerror}"
    finally:
        os.close(fd)
    if done.returncode == _PROBE_EXIT:
        return None
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"a probe guest failed: {last[0]}"
