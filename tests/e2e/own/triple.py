"""A device program of somebody's own."""

import numpy as np

from devmodel.device.programs import Memory, program


@program("triple")
async def triple(memory: Memory, src: int, count: int) -> int:
    """Every word three times."""
    values = await memory.load(src, count, np.uint64)
    await memory.store(src, values * np.uint64(3))
    return count
