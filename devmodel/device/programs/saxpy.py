"""saxpy(y, x, count, a): y += a * x over `count` float32. `a`: bits of a float32. Result: count."""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program


@program("saxpy")
async def saxpy(memory: Memory, y: int, x: int, count: int, a: int) -> int:
    """One rounding for the product and one for the sum, as in plain C."""
    factor = np.uint32(a & 0xFFFFFFFF).view(np.float32)
    for first, number in chunks(count):
        xs = await memory.load(x + 4 * first, number, np.float32)
        ys = await memory.load(y + 4 * first, number, np.float32)
        # Infinities and NaNs are the caller's data, not something to warn of.
        with np.errstate(all="ignore"):
            ys += factor * xs
        await memory.store(y + 4 * first, ys)
    return count
