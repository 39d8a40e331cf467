"""bfs(start, mark_value, max_depth): breadth-first over the edges of a word index.

Every word reached that does not carry `mark_value` in the high half of its mark gets
mark = mark_value << 32 | depth + 1; `start` has depth 0. Words at `max_depth` are reached, but
their edges are not followed. Result: words reached, and edges walked.
"""

import numpy as np

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.distinct import distinct
from devmodel.device.programs.registry import program
from devmodel.device.programs.wordindex import EDGE, U64, WORD

MOST_EDGES = 1 << 26

# Targets gathered before they are made distinct: a cycle of edges must not fill the memory.
_MOST_TARGETS = 1 << 17
_MOST_PIECES = 1 << 10
_MARK = np.uint64(WORD.fields["mark"][1])  # type: ignore[index]


@program("bfs")
async def bfs(memory: Memory, start: int, mark_value: int, max_depth: int) -> tuple[int, int]:
    """A level at a time; the edge chains of a level in step. `OverflowError`: it never ends."""
    if mark_value >> 32:
        raise BadArgument(f"mark value {mark_value:#x}: must fit into 32 bits")
    reached = walked = depth = 0
    front = np.array([start] if start else [], dtype=np.uint64)
    while front.size:
        word = await memory.gather(front, WORD)
        new = word["mark"] >> np.uint64(32) != mark_value
        mark = mark_value << 32 | (depth + 1) & 0xFFFFFFFF
        here = front[new]
        await memory.scatter(here + _MARK, np.full(here.size, mark, dtype=np.uint64))
        reached += here.size
        if depth >= max_depth:
            break
        edges = word["edges"][new]
        front, count = await _targets(memory, edges[edges != 0], MOST_EDGES - walked)
        walked += count
        depth += 1
    return reached, walked


async def _targets(memory: Memory, edge: U64, most: int) -> tuple[U64, int]:
    """The distinct words that the chains starting at `edge` lead to, and the edges walked."""
    found: list[U64] = []
    held = walked = 0
    while edge.size:
        walked += edge.size
        if walked > most:
            raise OverflowError(f"more than {MOST_EDGES} edges: a cycle?")
        entry = await memory.gather(edge, EDGE)
        found.append(entry["to"])
        held += edge.size
        if held > _MOST_TARGETS:
            found, held = [distinct(np.concatenate(found))], 0
        elif len(found) > _MOST_PIECES:
            found = [np.concatenate(found)]
        edge = entry["next"]
        edge = edge[edge != 0]
    if not found:
        return np.empty(0, dtype=np.uint64), 0
    targets = distinct(np.concatenate(found))
    return targets[targets != 0], walked
