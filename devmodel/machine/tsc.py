"""How fast this host's time stamp counter runs.

An emulated guest reads the host's counter, and has to find out its rate against an emulated
timer. On a host under load that goes wrong by a factor, and then all of the guest's time does:
its 5 seconds pass in half a one. So the guest is told the rate (`tsc_early_khz=`). It is
measured here against the host's own clock, in a few lines of machine code, as no file tells it.
"""

import ctypes
import mmap
import platform
import time
from collections.abc import Callable
from functools import cache

SPAN_SECONDS = 0.02
TRIES = 20
# rdtsc; shl rdx, 32; or rax, rdx; ret
_CODE = bytes([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3])


@cache
def khz() -> int | None:
    """The counter's rate in kHz to about 0.1 %; None where it cannot be measured."""
    if platform.machine() != "x86_64":
        return None
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=protection)
    except OSError:
        return None  # a host that forbids memory to be written and executed
    page.write(_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    begin_ns, begin = _reading(counter)
    time.sleep(SPAN_SECONDS)
    end_ns, end = _reading(counter)
    return (end - begin) * 1_000_000 // (end_ns - begin_ns)


def _reading(counter: Callable[[], int]) -> tuple[int, int]:
    """Clock (ns) and counter at one moment: the closest of some tries, as others may cut in."""
    best: tuple[int, int, int] | None = None
    for _ in range(TRIES):
        before = time.monotonic_ns()
        ticks = counter()
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, (before + after) // 2, ticks)
    assert best is not None
    return best[1], best[2]
