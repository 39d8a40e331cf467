"""What a guest's program prints, as it comes: bounded, however much that is."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable
from itertools import zip_longest

MOST_LINES = 200
MOST_OF_A_LINE = 2000
MOST_BYTES = 4 << 20


def _nobody(_: str) -> None:
    pass


class Lines(io.BufferedIOBase):
    """Lines for people: `tell` gets each as it ends, and the last ones are kept."""

    def __init__(self, tell: Callable[[str], None] = _nobody) -> None:
        super().__init__()
        self._tell = tell
        self._line = b""
        self._kept: deque[str] = deque(maxlen=MOST_LINES)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream; lines may be cut anywhere."""
        piece = bytes(data)  # type: ignore[call-overload]
        *lines, self._line = (self._line + piece).split(b"\n")
        self._line = self._line[:MOST_OF_A_LINE]
        for line in lines:
            words = line[:MOST_OF_A_LINE].decode(errors="replace")
            self._kept.append(words)
            self._tell(words)
        return len(piece)

    @property
    def text(self) -> str:
        """The last lines."""
        last = [self._line.decode(errors="replace")] if self._line else []
        return "\n".join([*self._kept, *last])

    @property
    def last(self) -> str:
        """The last one with something in it."""
        said = [line.strip() for line in self.text.splitlines() if line.strip()]
        return said[-1] if said else "it said nothing"


class Output(io.BufferedIOBase):
    """Data: its beginning is kept, all of it is remembered by a digest."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = bytearray()
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream."""
        piece = bytes(data)  # type: ignore[call-overload]
        self._digest.update(piece)
        self._kept += piece[: max(0, MOST_BYTES - len(self._kept))]
        self.size += len(piece)
        return len(piece)

    @property
    def whole(self) -> bool:
        """Whether all of it is kept."""
        return self.size == len(self._kept)

    @property
    def lines(self) -> list[bytes]:
        """Those that are kept."""
        return bytes(self._kept).splitlines()

    @property
    def last(self) -> str:
        """The last line that is kept; empty without any."""
        return self.lines[-1].decode(errors="replace") if self._kept else ""

    @property
    def digest(self) -> bytes:
        """The same for the same bytes."""
        return self._digest.digest()


def difference(seen: list[bytes], wanted: list[bytes]) -> str:
    """The first line that is not as it should be, in words; empty if all are."""
    for number, (one, other) in enumerate(zip_longest(seen, wanted), 1):
        if one == other:
            continue
        if one is None:
            return f"line {number} is missing: {_shown(other)}"
        if other is None:
            return f"line {number} is one too many: {_shown(one)}"
        return f"line {number} is {_shown(one)}, not {_shown(other)}"
    return ""


def _shown(line: bytes) -> str:
    return repr(line[:60].decode(errors="replace"))
