"""The programs that the guest's workloads bring: a stencil, a sparse graph, a key-value store."""

from __future__ import annotations

import tracemalloc
from collections import deque

import numpy as np
import pytest
from fake_driver import PAGE, FakeDriver, Process
from test_programs import SHAPES, ok

from devmodel.abi.rings import Status
from devmodel.device.programs.kv import SLOT, VALUE_WORDS

UNREACHED = 0xFFFFFFFF


@pytest.fixture(params=SHAPES, name="driver")
def shaped_driver(request: pytest.FixtureRequest) -> FakeDriver:
    return FakeDriver(**SHAPES[request.param])


def place(process: Process, values: np.ndarray, offset: int = 0) -> int:
    at = process.malloc(values.nbytes + offset) + offset
    process.put(at, values)
    return at


# --- stencil


@pytest.mark.parametrize(("width", "height"), [(3, 3), (37, 41), (1500, 9)])
def test_stencil(driver: FakeDriver, process: Process, width: int, height: int) -> None:
    rng = np.random.default_rng(7)
    old = rng.standard_normal((height, width)).astype(np.float32)
    src, dst = place(process, old, 12), process.malloc(old.nbytes)
    assert ok(driver.run(1, "stencil", dst, src, width, height))[0] == width * height
    expected = old.copy()
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            vertical = np.float32(old[y - 1, x] + old[y + 1, x])
            horizontal = np.float32(old[y, x - 1] + old[y, x + 1])
            expected[y, x] = np.float32(vertical + horizontal) * np.float32(0.25)
    assert process.get(dst, old.nbytes) == expected.tobytes()


@pytest.mark.parametrize(("width", "height"), [(2, 9), (9, 2), (1 << 21, 3), (9, 0)])
def test_a_stencil_of_nothing(
    driver: FakeDriver, process: Process, width: int, height: int
) -> None:
    va = process.malloc(PAGE)
    assert driver.run(1, "stencil", va, va, width, height).status == Status.BAD_ARGUMENT


# --- graph_bfs


class Graph:
    """A sparse graph in a process; node 3 has no edges, node 5 many."""

    def __init__(self, process: Process, nodes: int = 200, edges: int = 3) -> None:
        rng = np.random.default_rng(8)
        degrees = rng.integers(0, edges, nodes)
        degrees[3], degrees[5] = 0, 4 * nodes
        self.process, self.nodes = process, nodes
        self.targets = [rng.integers(0, nodes - 20, d).tolist() for d in degrees]
        offsets = np.concatenate([[0], np.cumsum(degrees)]).astype(np.uint64)
        flat = np.concatenate([np.array(to, dtype=np.uint32) for to in self.targets])
        self.offsets, self.flat = place(process, offsets, 8), place(process, flat, 4)
        self.depths = place(process, np.full(nodes, UNREACHED, dtype=np.uint32))

    def run(self, driver: FakeDriver, start: int) -> tuple[int, ...]:
        arguments = (self.offsets, self.flat, self.nodes, start, self.depths)
        return ok(driver.run(1, "graph_bfs", *arguments))

    def seen(self) -> list[int]:
        return np.frombuffer(self.process.get(self.depths, 4 * self.nodes), "<u4").tolist()

    def walk(self, start: int) -> tuple[list[int], int]:
        """Depths, and edges looked at, of a plain search."""
        depths, looked, queue = [UNREACHED] * self.nodes, 0, deque([start])
        depths[start] = 0
        while queue:
            node = queue.popleft()
            for target in self.targets[node]:
                looked += 1
                if depths[target] == UNREACHED:
                    depths[target] = depths[node] + 1
                    queue.append(target)
        return depths, looked


@pytest.mark.parametrize("start", [3, 5, 199])
@pytest.mark.parametrize("at_a_time", [1, 64, 1 << 16])
def test_graph_bfs(
    driver: FakeDriver,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    at_a_time: int,
) -> None:
    monkeypatch.setattr("devmodel.device.programs.graph_bfs._EDGES_AT_A_TIME", at_a_time)
    graph = Graph(process)
    depths, looked = graph.walk(start)
    reached = sum(depth != UNREACHED for depth in depths)
    assert graph.run(driver, start) == (reached, looked)
    assert graph.seen() == depths
    # All that can be reached has been.
    assert graph.run(driver, start) == (0, 0)


@pytest.mark.parametrize(
    ("offsets", "target", "status"),
    [
        ([0, 2, 1], 0, Status.BAD_ARGUMENT),
        ([0, 1, 1], 2, Status.BAD_ARGUMENT),
        ([0, 1 << 40, 1 << 40], 0, Status.PROGRAM_ERROR),
        ([(1 << 64) - 4, 4, 4], 0, Status.BAD_ARGUMENT),
    ],
)
def test_what_is_no_graph(
    driver: FakeDriver, process: Process, offsets: list[int], target: int, status: Status
) -> None:
    at = place(process, np.array(offsets, dtype=np.uint64))
    targets = place(process, np.full(8, target, dtype=np.uint32))
    depths = place(process, np.full(8, UNREACHED, dtype=np.uint32))
    # From node 1 if that is the one whose edges are wrong.
    start = 1 if offsets[1] > offsets[2] else 0
    assert driver.run(1, "graph_bfs", at, targets, 2, start, depths).status == status
    assert driver.run(1, "graph_bfs", at, targets, 2, 2, depths).status == Status.BAD_ARGUMENT


def test_edges_that_many_nodes_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets go up and down, so that every second node has all edges: each leads to all others."""
    monkeypatch.setattr("devmodel.device.programs.graph_bfs._EDGES_AT_A_TIME", 1)
    driver = FakeDriver()
    process = driver.process()
    nodes = 2048
    offsets = place(process, np.tile(np.array([0, nodes // 2], dtype=np.uint64), nodes // 2 + 1))
    targets = place(process, np.arange(0, nodes, 2, dtype=np.uint32))
    depths = place(process, np.full(nodes, UNREACHED, dtype=np.uint32))
    tracemalloc.start()
    result = ok(driver.run(1, "graph_bfs", offsets, targets, nodes, 0, depths))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result == (nodes // 2, (nodes // 2) ** 2)
    assert peak < 2 << 20


def test_a_level_that_is_too_large(
    driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devmodel.device.programs.graph_bfs.MOST_FOUND", 100)
    graph = Graph(process)
    arguments = (graph.offsets, graph.flat, graph.nodes, 5, graph.depths)
    assert driver.run(1, "graph_bfs", *arguments).status == Status.PROGRAM_ERROR


def test_a_guest_that_resets_depths_gets_an_end() -> None:
    """Two nodes that lead to each other, reached again and again."""
    driver = FakeDriver(burst_bytes=1)
    process = driver.process()
    offsets = place(process, np.arange(3, dtype=np.uint64))
    targets = place(process, np.array([1, 0], dtype=np.uint32))
    depths = place(process, np.full(2, UNREACHED, dtype=np.uint32))
    cookie = driver.launch(1, "graph_bfs", offsets, targets, 2, 0, depths)
    for _ in range(100):
        driver.serve_faults()
        driver.device.step()
        process.put(depths, b"\xff" * 8)
    assert driver.wait(cookie).status == Status.BAD_ARGUMENT


# --- kv


class Store:
    """A key-value store in a process, `load` of its slots taken, beside a plain one."""

    def __init__(self, process: Process, nslots: int = 256, load: int = 200) -> None:
        rng = np.random.default_rng(9)
        self.process, self.nslots = process, nslots
        self.values = rng.integers(0, 1 << 64, (load, VALUE_WORDS), dtype=np.uint64)
        self.keys = [int(key) | 1 for key in rng.integers(1, 1 << 64, load, dtype=np.uint64)]
        # At 40: some values cross pages.
        self.heap = place(process, self.values, 40)
        slots = np.zeros(nslots, dtype=SLOT)
        for number, key in enumerate(self.keys):
            at = (key * 0x9E3779B97F4A7C15 % (1 << 64) >> 32) % nslots
            while slots[at]["key"]:
                at = (at + 1) % nslots
            slots[at] = (key, self.heap + 8 * VALUE_WORDS * number)
        self.table = place(process, slots, 8)

    def sums(self) -> dict[int, int]:
        found = self.process.words(self.heap, self.values.size).reshape(self.values.shape)
        return {
            key: sum(words.tolist()) % (1 << 64)
            for key, words in zip(self.keys, found, strict=True)
        }

    def list(self, keys: list[int]) -> int:
        return place(self.process, np.array(keys, dtype=np.uint64))


def test_kv_get(driver: FakeDriver, process: Process) -> None:
    store = Store(process)
    # Not there: an even key, and 0.
    wanted = [*store.keys[::-1], 2, store.keys[0], 0]
    out = process.malloc(8 * len(wanted))
    arguments = (store.table, store.nslots, store.list(wanted), len(wanted), out)
    found, looked = ok(driver.run(1, "kv_get", *arguments))
    plain = store.sums()
    assert process.words(out, len(wanted)).tolist() == [plain.get(key, 0) for key in wanted]
    assert found == len(wanted) - 2
    assert found < looked < 20 * len(wanted)


def test_kv_add(driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devmodel.device.programs.kv._KEYS_AT_A_TIME", 50)
    store = Store(process)
    before, amount = store.sums(), (1 << 64) - 3
    some = [*store.keys[:70], *store.keys[:30], store.keys[0], store.keys[0], 2, 0]
    arguments = (store.table, store.nslots, store.list(some), len(some), amount)
    assert ok(driver.run(1, "kv_add", *arguments))[0] >= 70
    for number, key in enumerate(store.keys):
        times = (number < 70) + (number < 30) + 2 * (number == 0)
        assert store.sums()[key] == (before[key] + times * amount) % (1 << 64)


def test_a_full_table(
    driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not there is looked for everywhere, and then is not there."""
    store = Store(process, 64, 64)
    keys, out = store.list([2]), process.malloc(8)
    arguments = (store.table, store.nslots, keys, 1)
    assert ok(driver.run(1, "kv_get", *arguments, out)) == (0, 64)
    assert ok(driver.run(1, "kv_add", *arguments, 1)) == (0, 64)
    monkeypatch.setattr("devmodel.device.programs.kv.MOST_STEPS", 60)
    assert driver.run(1, "kv_get", *arguments, out).status == Status.PROGRAM_ERROR


@pytest.mark.parametrize("nslots", [0, 3, 1 << 32])
def test_a_table_of_no_size(driver: FakeDriver, process: Process, nslots: int) -> None:
    va = process.malloc(PAGE)
    assert driver.run(1, "kv_get", va, nslots, va, 1, va).status == Status.BAD_ARGUMENT
    assert driver.run(1, "kv_add", va, nslots, va, 1, 1).status == Status.BAD_ARGUMENT
