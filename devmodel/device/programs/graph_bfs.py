"""graph_bfs(offsets, targets, nodes, start, depths): breadth-first over a sparse graph (CSR).

The edges of node n lead to targets[offsets[n]] up to targets[offsets[n + 1] - 1]: `offsets` are
nodes + 1 u64, `targets` u32. `depths` are u32, one a node: those that are all ones are not reached
yet, and become the distance from `start`. Result: nodes reached, and edges looked at.
"""

from collections.abc import Iterator

import numpy as np

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.distinct import distinct
from devmodel.device.programs.chunks import chunks
from devmodel.device.programs.registry import program
from devmodel.device.programs.wordindex import U64

MOST_EDGES = 1 << 20
MOST_FOUND = 1 << 24
_RANGE = np.dtype([("first", "<u8"), ("last", "<u8")])
_UNREACHED = np.uint32(0xFFFFFFFF)
_NODES_AT_A_TIME = 1 << 14
_EDGES_AT_A_TIME = 1 << 16


@program("graph_bfs")
async def graph_bfs(
    memory: Memory, offsets: int, targets: int, nodes: int, start: int, depths: int
) -> tuple[int, int]:
    """A level at a time. `OverflowError`: a node of more than MOST_EDGES, a level of MOST_FOUND.

    A node gets its depth when it is found, so it is found once, however many edges lead to it: what
    is held of the next level is no more than what the guest's own depths have changed by.
    """
    if not start < nodes <= 1 << 32:
        raise BadArgument(f"start {start} of {nodes} nodes")
    front = [await _mark(memory, np.array([start], dtype=np.uint64), depths, 0)]
    reached = front[0].size
    looked = depth = 0
    while front:
        depth += 1
        found: list[U64] = []
        held = 0
        for part in front:
            for first, number in chunks(part.size, _NODES_AT_A_TIME):
                some = part[first : first + number]
                ends = await memory.gather(np.uint64(offsets) + np.uint64(8) * some, _RANGE)
                for edges in _pieces(ends["first"], ends["last"]):
                    looked += edges.size
                    to = await memory.gather(np.uint64(targets) + np.uint64(4) * edges, np.uint32)
                    if int(to.max()) >= nodes:
                        raise BadArgument(f"an edge to node {int(to.max())} of {nodes}")
                    new = await _mark(memory, distinct(to.astype(np.uint64)), depths, depth)
                    if new.size:
                        found.append(new)
                        held += new.size
                    if held > MOST_FOUND:
                        raise OverflowError(f"a level of more than {MOST_FOUND} nodes")
        front = found
        reached += held
        if reached > nodes:
            raise BadArgument(f"more than {nodes} nodes reached: depths that are reset meanwhile")
    return reached, looked


def _pieces(first: U64, last: U64) -> Iterator[U64]:
    """The numbers of the edges first[i] to last[i] - 1, for all i, some at a time."""
    if (last < first).any():
        raise BadArgument("offsets that descend")
    counts = last - first
    if int(counts.max()) > MOST_EDGES:
        raise OverflowError(f"a node with {int(counts.max())} edges: at most {MOST_EDGES}")
    ends = np.cumsum(counts)
    begin = 0
    while begin < counts.size:
        done = int(ends[begin] - counts[begin])
        # At least one node; more as long as they are few edges.
        end = max(int(np.searchsorted(ends, done + _EDGES_AT_A_TIME, "right")), begin + 1)
        part = counts[begin:end]
        if total := int(ends[end - 1]) - done:
            within = np.arange(total, dtype=np.uint64)
            shift = first[begin:end] - (ends[begin:end] - part - np.uint64(done))
            yield within + np.repeat(shift, part.astype(np.intp))
        begin = end


async def _mark(memory: Memory, nodes: U64, depths: int, depth: int) -> U64:
    """Those of some distinct nodes that were not reached yet, now with their depth."""
    places = np.uint64(depths) + np.uint64(4) * nodes
    new = await memory.gather(places, np.uint32) == _UNREACHED
    await memory.scatter(places[new], np.full(np.count_nonzero(new), depth, dtype=np.uint32))
    found: U64 = nodes[new]
    return found
