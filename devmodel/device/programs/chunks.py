"""Cutting long arrays into pieces that fit into the device's own memory."""

from collections.abc import Iterator

# Elements a piece: large enough to vectorise, small next to the agent's memory.
CHUNK = 1 << 16


def chunks(count: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(first, number of elements) of the pieces of an array of `count` elements, in order."""
    for first in range(0, count, size):
        yield first, min(size, count - first)
