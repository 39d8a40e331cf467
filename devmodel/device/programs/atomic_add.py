"""atomic_add(dst, count, value): add `value` to the u64 at `dst`, `count` times.

Result: the word after the last add, as this program saw it.
"""

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.registry import program

_MASK64 = (1 << 64) - 1


@program("atomic_add")
async def atomic_add(memory: Memory, dst: int, count: int, value: int) -> int:
    """Each add is one access of its own, and may fault."""
    seen = 0
    if not count:
        return int((await memory.load(dst, 1))[0])
    for _ in range(count):
        seen = (await memory.add(dst, value) + value) & _MASK64
    return seen
