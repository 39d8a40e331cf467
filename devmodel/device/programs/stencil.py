"""stencil(dst, src, width, height): one Jacobi step over a grid of float32, row by row.

Each inner point of `dst` becomes a quarter of the sum of its four neighbours in `src`; the border
is copied. Result: points.
"""

import numpy as np

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program

_POINTS_AT_A_TIME = 1 << 16
_MOST_WIDTH = 1 << 20


@program("stencil")
async def stencil(memory: Memory, dst: int, src: int, width: int, height: int) -> int:
    """Sums as ((up + down) + (left + right)), each rounded, so that plain C gets the same bits."""
    if not 3 <= width <= _MOST_WIDTH or height < 3:
        raise BadArgument(f"a grid of {width} x {height}: at least 3 x 3, rows of at most 2^20")
    row = 4 * width
    for edge in (0, row * (height - 1)):
        await memory.store(dst + edge, await memory.load(src + edge, width, np.float32))
    for first, number in chunks(height - 2, max(_POINTS_AT_A_TIME // width, 1)):
        # `number` rows, and one more on each side.
        part = await memory.load(src + row * first, width * (number + 2), np.float32)
        old = part.reshape(number + 2, width)
        new = old[1:-1].copy()
        with np.errstate(all="ignore"):
            sums = (old[:-2, 1:-1] + old[2:, 1:-1]) + (old[1:-1, :-2] + old[1:-1, 2:])
            new[:, 1:-1] = sums * np.float32(0.25)
        await memory.store(dst + row * (first + 1), new)
    return width * height
