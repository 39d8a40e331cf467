"""What the oracle finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Of one kind on one device: a broken device breaks the same promise again and again.
MOST = 100


class Kind(StrEnum):
    """What was violated, in the words of the report."""

    UNMAPPED = "access without a mapping"
    REVOKED = "access through a revoked translation"
    WRITE = "write without the right to"
    ATOMIC = "atomic access without the right to"
    UNACKNOWLEDGED = "rights taken without an acknowledged invalidate"
    LOST_DIRTY = "dirty state lost"
    WRONG_FRAME = "access to a frame that is not the page's"
    TWICE = "frame given out twice"
    NOT_GIVEN = "frame taken back that was not given out"
    FREE_FRAME = "use of a free frame"
    SHARED_FRAME = "two pages in one frame"
    TWO_PLACES = "one page in two places"
    COPIED_MAPPED = "copy of a page that a device can reach"
    COPIED_TWICE = "two pages copied into one frame"

    @property
    def invariant(self) -> int:
        """Its number in the architecture's list."""
        if self in (Kind.UNMAPPED, Kind.REVOKED, Kind.WRITE, Kind.ATOMIC, Kind.UNACKNOWLEDGED):
            return 1
        return 2 if self is Kind.LOST_DIRTY else 3


@dataclass(frozen=True)
class Violation:
    """One violation. `record` is its place in the trace of `device`."""

    kind: Kind
    device: int
    record: int
    ctx: int = 0
    va: int = 0
    bus: int = 0
    """0: none is to be named"""

    def to_json(self) -> dict[str, int | str]:
        """For machines; addresses as hexadecimal text."""
        return {
            "invariant": self.kind.invariant,
            "what": self.kind.value,
            "device": self.device,
            "record": self.record,
            "ctx": self.ctx,
            "va": f"{self.va:#x}",
            "bus": f"{self.bus:#x}",
        }
