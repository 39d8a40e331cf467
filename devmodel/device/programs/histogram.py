"""histogram(src, nbytes, bins): how often each byte value occurs, added to 256 u64 at `bins`.

Result: nbytes.
"""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program


@program("histogram")
async def histogram(memory: Memory, src: int, nbytes: int, bins: int) -> int:
    """Counts in the device; the bins are read and written once, at the end."""
    counts = np.zeros(256, dtype=np.uint64)
    for first, number in chunks(nbytes, 1 << 20):
        data = await memory.load(src + first, number, np.uint8)
        counts += np.bincount(data, minlength=256).astype(np.uint64)
    await memory.store(bins, await memory.load(bins, 256) + counts)
    return nbytes
