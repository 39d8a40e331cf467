"""copy(dst, src, nbytes): copy bytes that do not overlap. Result: nbytes."""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program


@program("copy")
async def copy(memory: Memory, dst: int, src: int, nbytes: int) -> int:
    """Chunk by chunk, ascending."""
    for first, number in chunks(nbytes, 1 << 20):
        await memory.store(dst + first, await memory.load(src + first, number, np.uint8))
    return nbytes
