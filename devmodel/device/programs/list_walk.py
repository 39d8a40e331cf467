"""list_walk(head, next_offset, value_offset): walk a linked list, sum a u64 of each node.

Result: nodes, and the sum modulo 2^64.
"""

import numpy as np

from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs.registry import program

MOST_NODES = 1 << 24
_MASK64 = (1 << 64) - 1


@program("list_walk")
async def list_walk(
    memory: Memory, head: int, next_offset: int, value_offset: int
) -> tuple[int, int]:
    """`OverflowError` after MOST_NODES: such a list has a cycle."""
    node, nodes, total = head, 0, 0
    while node:
        if nodes == MOST_NODES:
            raise OverflowError(f"more than {MOST_NODES} nodes from {head:#x}: a cycle?")
        fields = np.array(
            [(node + next_offset) & _MASK64, (node + value_offset) & _MASK64], dtype=np.uint64
        )
        node, value = (await memory.gather(fields)).tolist()
        nodes += 1
        total += value
    return nodes, total
