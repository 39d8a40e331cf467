"""sum(src, count): the sum of `count` u64 words, modulo 2^64."""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program


@program("sum")
async def sum_words(memory: Memory, src: int, count: int) -> int:
    """Chunk by chunk, ascending."""
    total = 0
    for first, number in chunks(count):
        total += int((await memory.load(src + 8 * first, number)).sum(dtype=np.uint64))
    return total
