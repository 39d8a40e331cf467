"""Where guest RAM lies: guest-physical addresses to offsets in the RAM file.

::

    q35, fixed by `max-ram-below-4g=2G`
    guest-physical   0 ........ min(ram, 2 GiB)      4 GiB ........ 4 GiB + rest
    file offset      0 ........ min(ram, 2 GiB)      2 GiB ........ ram

Between the two lie PCI windows, APICs and flash: nothing a device may touch.
"""

from dataclasses import dataclass

LOW_LIMIT = 2 << 30
HIGH_BASE = 4 << 30


@dataclass(frozen=True)
class Segment:
    """`length` bytes of RAM at guest-physical `start`, at `offset` in the RAM file."""

    start: int
    length: int
    offset: int


def q35(ram: int) -> list[Segment]:
    """A q35 machine's `ram` bytes in ascending order of address. ValueError if there are none."""
    if ram <= 0:
        raise ValueError(f"{ram} bytes of RAM")
    low = min(ram, LOW_LIMIT)
    segments = [Segment(0, low, 0)]
    if ram > low:
        segments.append(Segment(HIGH_BASE, ram - low, low))
    return segments
