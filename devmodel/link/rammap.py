"""Where guest RAM lies: guest-physical addresses to offsets in the RAM file.

::

    q35, fixed by `max-ram-below-4g=2G`
    guest-physical   0 ........ min(ram, 2 GiB)      4 GiB ........ 4 GiB + rest
    file offset      0 ........ min(ram, 2 GiB)      2 GiB ........ ram

Between the two lie PCI windows, APICs and flash: nothing a device may touch.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

LOW_LIMIT = 2 << 30
HIGH_BASE = 4 << 30


@dataclass(frozen=True)
class Segment:
    """`length` bytes of RAM at guest-physical `start`, at `offset` in the RAM file."""

    start: int
    length: int
    offset: int


@dataclass(frozen=True)
class RamMap:
    """The guest's RAM, in ascending order of address."""

    segments: tuple[Segment, ...]

    @classmethod
    def q35(cls, ram: int) -> "RamMap":
        """The map of a q35 machine with `ram` bytes, split as the command line asks for."""
        if ram <= 0:
            raise ValueError(f"{ram} bytes of RAM")
        low = min(ram, LOW_LIMIT)
        segments = [Segment(0, low, 0)]
        if ram > low:
            segments.append(Segment(HIGH_BASE, ram - low, low))
        return cls(tuple(segments))

    @property
    def size(self) -> int:
        """Bytes of RAM in all."""
        return sum(segment.length for segment in self.segments)

    def offset(self, address: int, length: int) -> int | None:
        """The file offset of [address, address + length), or None if not all of it is RAM."""
        for segment in self.segments:
            inside = address - segment.start
            if inside >= 0 and length >= 0 and inside + length <= segment.length:
                return segment.offset + inside
        return None

    def to_json(self) -> list[dict[str, int]]:
        """For the agent's configuration; `from_json` reads it."""
        return [asdict(segment) for segment in self.segments]

    @classmethod
    def from_json(cls, segments: Iterable[dict[str, int]]) -> "RamMap":
        """The reverse of `to_json`."""
        return cls(tuple(Segment(**segment) for segment in segments))
