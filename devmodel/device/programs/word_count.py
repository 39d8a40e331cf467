"""word_count(buckets, nbuckets, out): walk every chain of a word index.

Result: words, and the sum of their counts. To `out`, 64 u64, is added how many chains have
each length; the last bin takes 63 and more.
"""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program
from devmodel.device.programs.wordindex import MOST_STEPS, WORD, check_buckets

_BINS = 64


@program("word_count")
async def word_count(memory: Memory, buckets: int, nbuckets: int, out: int) -> tuple[int, int]:
    """All chains of a chunk of buckets in step; `OverflowError` if one never ends."""
    check_buckets(nbuckets)
    words = total = 0
    bins = np.zeros(_BINS, dtype=np.uint64)
    for first, number in chunks(nbuckets):
        node = await memory.load(buckets + 8 * first, number)
        lengths = np.zeros(number, dtype=np.int64)
        chain = np.flatnonzero(node)
        node = node[chain]
        while chain.size:
            if words > MOST_STEPS:
                raise OverflowError(f"more than {MOST_STEPS} words: a cycle?")
            word = await memory.gather(node, WORD)
            words += chain.size
            total += int(word["count"].sum(dtype=np.uint64))
            lengths[chain] += 1
            onward = np.flatnonzero(word["next"])
            chain, node = chain[onward], word["next"][onward]
        shape = np.bincount(np.minimum(lengths, _BINS - 1), minlength=_BINS)
        bins += shape.astype(np.uint64)
    await memory.store(out, await memory.load(out, _BINS) + bins)
    return words, total
