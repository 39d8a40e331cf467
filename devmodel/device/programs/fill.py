"""fill(dst, count, value): `count` u64 words at `dst` become `value`. Result: count."""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program


@program("fill")
async def fill(memory: Memory, dst: int, count: int, value: int) -> int:
    """Chunk by chunk, ascending."""
    for first, number in chunks(count):
        await memory.store(dst + 8 * first, np.full(number, value, dtype=np.uint64))
    return count
