"""The word index that the workload builds with plain malloc, as the device reads it.

::

    struct wi_word *buckets[nbuckets];            nbuckets a power of two, chained by next
    bucket of a word = FNV-1a of its text & (nbuckets - 1)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory

WORD = np.dtype(
    [
        (name, "<u8")
        for name in ("next", "hash", "count", "mark", "edges", "nedges", "text", "length")
    ]
)
EDGE = np.dtype([(name, "<u8") for name in ("next", "to", "weight")])
KEY = np.dtype([("text", "<u8"), ("length", "<u8")])

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)

# A chain longer than this is not a word index.
MOST_STEPS = 1 << 24
# Hashing goes byte by byte without a pause, so texts are bounded: one, and those of a batch.
LONGEST_TEXT = 4096
BATCH_TEXT = 1 << 20

U64 = NDArray[np.uint64]


def check_buckets(nbuckets: int) -> None:
    """`BadArgument` if a table cannot have so many buckets."""
    if nbuckets < 1 or nbuckets & (nbuckets - 1):
        raise BadArgument(f"{nbuckets} buckets: must be a power of two")


async def load_texts(memory: Memory, texts: U64, lengths: U64) -> tuple[NDArray[np.uint8], U64]:
    """The bytes of many texts, one after the other, and where each starts in them.

    `texts` and `lengths` have the same shape (n,); the second result has too.
    """
    starts = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    each = lengths.astype(np.intp)
    within = np.arange(total, dtype=np.uint64) - np.repeat(starts, each)
    addresses = np.repeat(texts, each) + within
    data: NDArray[np.uint8] = await memory.gather(addresses, np.uint8)
    return data, starts


def fnv1a(data: NDArray[np.uint8], starts: U64, lengths: U64) -> U64:
    """FNV-1a, 64 bits, of many texts at once: byte position by byte position, longest first."""
    order = np.argsort(lengths, kind="stable")[::-1]
    at, left = starts[order], lengths[order]
    hashes = np.full(lengths.size, FNV_OFFSET, dtype=np.uint64)
    reach = np.searchsorted(-left.astype(np.int64), -np.arange(int(lengths.max(initial=0))))
    for position, active in enumerate(reach.tolist()):
        # The first `active` texts are longer than `position`.
        now = hashes[:active]
        now ^= data[at[:active] + np.uint64(position)]
        now *= FNV_PRIME
    out = np.empty_like(hashes)
    out[order] = hashes
    return out
