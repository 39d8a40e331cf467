"""hash_lookup(buckets, nbuckets, keys, nkeys, out): look words up in a word index.

`keys` are {char *text; u64 length}; out[i], u64, becomes the count of the word, or 0.
Result: keys found, and chain nodes visited.
"""

import numpy as np

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program
from devmodel.device.programs.wordindex import (
    BATCH_TEXT,
    KEY,
    LONGEST_TEXT,
    MOST_STEPS,
    U64,
    WORD,
    check_buckets,
    fnv1a,
    load_texts,
)

_KEYS_AT_A_TIME = 1 << 13


@program("hash_lookup")
async def hash_lookup(
    memory: Memory, buckets: int, nbuckets: int, keys: int, nkeys: int, out: int
) -> tuple[int, int]:
    """All keys of a batch in step; `OverflowError` if a chain never ends."""
    check_buckets(nbuckets)
    found = visited = 0
    for first, number in chunks(nkeys, _KEYS_AT_A_TIME):
        key = await memory.load(keys + KEY.itemsize * first, number, KEY)
        counts = np.zeros(number, dtype=np.uint64)
        for begin, end in _by_text(key["length"]):
            hit, steps = await _batch(memory, buckets, nbuckets, key[begin:end], counts[begin:end])
            found += hit
            visited += steps
        await memory.store(out + 8 * first, counts)
    return found, visited


def _by_text(lengths: U64) -> list[tuple[int, int]]:
    """Ranges of keys that make a batch; `BadArgument` if one has too long a text."""
    if lengths.size and int(lengths.max()) > LONGEST_TEXT:
        raise BadArgument(f"a key of {int(lengths.max())} bytes: at most {LONGEST_TEXT}")
    ranges, begin, size = [], 0, 0
    for index, length in enumerate(lengths.tolist()):
        if size + length > BATCH_TEXT:
            ranges.append((begin, index))
            begin, size = index, 0
        size += length
    return [*ranges, (begin, lengths.size)]


async def _batch(
    memory: Memory, buckets: int, nbuckets: int, key: np.ndarray, counts: U64
) -> tuple[int, int]:
    """Fill `counts` for some keys; keys found, nodes visited."""
    text, starts = await load_texts(memory, key["text"], key["length"])
    hashes = fnv1a(text, starts, key["length"])
    slots = np.uint64(buckets) + np.uint64(8) * (hashes & np.uint64(nbuckets - 1))
    node = await memory.gather(slots)
    seeking = np.flatnonzero(node)
    node = node[seeking]
    found = visited = 0
    while seeking.size:
        if visited > MOST_STEPS:
            raise OverflowError(f"more than {MOST_STEPS} nodes: a cycle?")
        word = await memory.gather(node, WORD)
        visited += seeking.size
        same = (word["hash"] == hashes[seeking]) & (word["length"] == key["length"][seeking])
        maybe = np.flatnonzero(same)
        if maybe.size:
            equal = await _texts_equal(
                memory, text, starts[seeking[maybe]], word["text"][maybe], word["length"][maybe]
            )
            same[maybe[~equal]] = False
            counts[seeking[same]] = word["count"][same]
            found += int(np.count_nonzero(same))
        onward = np.flatnonzero(~same & (word["next"] != 0))
        seeking, node = seeking[onward], word["next"][onward]
    return found, visited


async def _texts_equal(
    memory: Memory, text: np.ndarray, starts: U64, others: U64, lengths: U64
) -> np.ndarray:
    """Per pair of texts of one length: whether `text` from `starts` is what lies at `others`."""
    other, other_starts = await load_texts(memory, others, lengths)
    each = lengths.astype(np.intp)
    index = np.arange(other.size, dtype=np.uint64) + np.repeat(starts - other_starts, each)
    wrong = np.repeat(np.arange(lengths.size), each)[text[index] != other]
    equal = np.ones(lengths.size, dtype=np.bool_)
    equal[wrong] = False
    return equal
