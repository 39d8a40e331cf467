"""Every builtin program, over scattered pages that all fault, with a TLB and bursts of any size."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest
from fake_driver import PAGE, FakeDriver, Process

from devmodel.abi.rings import Access, Completion, Status
from devmodel.device.programs.wordindex import EDGE, KEY, WORD, fnv1a

SHAPES = {
    "roomy": {},
    "tiny": {"tlb_entries": 1, "burst_bytes": 64},
    "small": {"tlb_entries": 16, "burst_bytes": 8192},
}


@pytest.fixture(params=SHAPES, name="driver")
def shaped_driver(request: pytest.FixtureRequest) -> FakeDriver:
    return FakeDriver(**SHAPES[request.param])


def ok(completion: Completion) -> tuple[int, ...]:
    assert completion.status == Status.OK, Status(completion.status)
    return completion.result


def test_fill(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(5 * PAGE) + 8
    assert ok(driver.run(1, "fill", va, 2000, 7)) == (2000, 0)
    assert process.words(va - 8, 2002).tolist() == [0] + [7] * 2000 + [0]


def test_copy_at_odd_addresses(driver: FakeDriver, process: Process) -> None:
    src, dst = process.malloc(6 * PAGE), process.malloc(6 * PAGE)
    data = random.Random(1).randbytes(5 * PAGE)
    process.put(src + 3, data)
    assert ok(driver.run(1, "copy", dst + 1001, src + 3, len(data)))[0] == len(data)
    assert process.get(dst + 1001, len(data)) == data
    assert process.get(dst, 1001) == bytes(1001)


def test_sum_wraps(driver: FakeDriver, process: Process) -> None:
    values = np.random.default_rng(1).integers(0, 1 << 64, 3000, dtype=np.uint64)
    va = process.malloc(values.nbytes)
    process.put(va, values)
    assert ok(driver.run(1, "sum", va, 3000))[0] == sum(values.tolist()) % (1 << 64)


def test_saxpy(driver: FakeDriver, process: Process) -> None:
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal(3000).astype(np.float32) for _ in range(2))
    a = np.float32(2.5)
    x_at, y_at = process.malloc(x.nbytes), process.malloc(y.nbytes)
    process.put(x_at, x)
    process.put(y_at, y)
    ok(driver.run(1, "saxpy", y_at, x_at, 3000, int(a.view(np.uint32))))
    assert process.get(y_at, y.nbytes) == (y + a * x).tobytes()


def test_histogram_adds_to_the_bins(driver: FakeDriver, process: Process) -> None:
    data = random.Random(3).randbytes(3 * PAGE + 17)
    src, bins = process.malloc(len(data)), process.malloc(2048)
    process.put(src, data)
    process.put(bins, np.full(256, 5, dtype=np.uint64))
    ok(driver.run(1, "histogram", src, len(data), bins))
    expected = np.bincount(np.frombuffer(data, np.uint8), minlength=256) + 5
    assert process.words(bins, 256).tolist() == expected.tolist()


def test_list_walk_over_nodes_that_cross_pages(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(20 * PAGE)
    rng = random.Random(4)
    # 8 bytes before each node: values sit there, next pointers 4 after it; some cross pages.
    nodes = [va + 4 + i * 401 for i in range(1, 200)]
    rng.shuffle(nodes)
    total = 0
    for node, following in zip(nodes, [*nodes[1:], 0], strict=True):
        value = rng.randrange(1 << 63)
        total += value
        process.put(node + 4, following.to_bytes(8, "little"))
        process.put(node - 8, value.to_bytes(8, "little"))
    result = ok(driver.run(1, "list_walk", nodes[0], 4, (1 << 64) - 8))
    assert result == (199, total % (1 << 64))


def test_list_with_a_cycle_ends(
    driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devmodel.device.programs.list_walk.MOST_NODES", 500)
    va = process.malloc(PAGE)
    process.put(va, va.to_bytes(8, "little"))
    assert driver.run(1, "list_walk", va, 0, 8).status == Status.PROGRAM_ERROR


def test_atomic_add(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    process.put(va + 16, ((1 << 64) - 5).to_bytes(8, "little"))
    assert ok(driver.run(1, "atomic_add", va + 16, 100, 3))[0] == 295
    assert process.words(va + 16, 1)[0] == 295
    assert ok(driver.run(1, "atomic_add", va + 16, 0, 3))[0] == 295
    assert driver.run(1, "atomic_add", va + 17, 1, 3).status == Status.BAD_ARGUMENT


def test_two_atomic_adds_at_once(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    cookies = [driver.launch(1, "atomic_add", va, 700, 1) for _ in range(3)]
    assert max(ok(driver.wait(cookie))[0] for cookie in cookies) == 2100
    assert process.words(va, 1)[0] == 2100


class Index:
    """A word index in a process, as guest/workloads builds it, beside a plain one to compare."""

    def __init__(self, process: Process, words: int, edges: int, seed: int = 5) -> None:
        rng = random.Random(seed)
        self.process = process
        self.nbuckets = 64
        self.texts = [b"word%d" % i + b"x" * rng.randrange(30) for i in range(words)]
        self.texts[0] = b""
        self.heap = process.malloc((words * 112 + edges * 32) + PAGE)
        self.top = self.heap + 24
        self.buckets = process.malloc(8 * self.nbuckets)
        self.at: list[int] = []
        self.counts = [rng.randrange(1, 1000) for _ in range(words)]
        self.links: list[list[int]] = [[] for _ in range(words)]
        for _ in range(edges):
            self.links[rng.randrange(words)].append(rng.randrange(words))
        heads = [0] * self.nbuckets
        self.chains = [0] * self.nbuckets
        records = []
        for number, text in enumerate(self.texts):
            at, text_at = self.place(WORD.itemsize), self.place(len(text))
            process.put(text_at, text)
            hashed = fnv(text)
            bucket = hashed % self.nbuckets
            row = (heads[bucket], hashed, self.counts[number], 0, 0, 0, text_at, len(text))
            records.append(row)
            heads[bucket] = at
            self.chains[bucket] += 1
            self.at.append(at)
        for number, row in enumerate(records):
            chain = 0
            for target in self.links[number]:
                edge = self.place(EDGE.itemsize)
                process.put(edge, np.array([(chain, self.at[target], 1)], dtype=EDGE))
                chain = edge
            full = (*row[:4], chain, len(self.links[number]), *row[6:])
            process.put(self.at[number], np.array([full], dtype=WORD))
        process.put(self.buckets, np.array(heads, dtype=np.uint64))

    def place(self, size: int) -> int:
        """As malloc: 16-byte aligned, so a record may cross pages."""
        at = self.top
        self.top += -(-(size + 8) // 16) * 16
        return at

    def keys(self, texts: list[bytes]) -> int:
        data = self.process.malloc(sum(map(len, texts)) + 64)
        rows = []
        for text in texts:
            self.process.put(data, text)
            rows.append((data, len(text)))
            data += len(text)
        keys = np.array(rows, dtype=KEY)
        at = self.process.malloc(keys.nbytes)
        self.process.put(at, keys)
        return at


def fnv(text: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def test_fnv1a_of_many_texts() -> None:
    # The published test vectors of FNV-1a, 64 bits.
    assert fnv(b"") == 0xCBF29CE484222325
    assert fnv(b"foobar") == 0x85944171F73967E8
    texts = [b"foobar", b"", b"a", b"b" * 300, b"a"]
    data = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array([len(t) for t in texts], dtype=np.uint64)
    assert fnv1a(data, np.cumsum(lengths) - lengths, lengths).tolist() == [fnv(t) for t in texts]


def test_hash_lookup(driver: FakeDriver, process: Process) -> None:
    index = Index(process, 300, 0)
    wanted = [*index.texts[::2], b"absent", b"word1 not", *index.texts[:10], b"word"]
    plain = dict(zip(index.texts, index.counts, strict=True))
    keys, out = index.keys(wanted), process.malloc(8 * len(wanted))
    arguments = (index.buckets, index.nbuckets, keys, len(wanted), out)
    found, visited = ok(driver.run(1, "hash_lookup", *arguments))
    assert process.words(out, len(wanted)).tolist() == [plain.get(t, 0) for t in wanted]
    assert found == len(wanted) - 3
    assert found <= visited <= 300 * len(wanted)


def test_hash_lookup_compares_texts_of_one_hash(driver: FakeDriver, process: Process) -> None:
    index = Index(process, 50, 0)
    at = index.at[7]
    # The word keeps its hash and its length, but has another text now.
    process.put(int(process.words(at + 48, 1)[0]), b"W")
    keys, out = index.keys([index.texts[7]]), process.malloc(8)
    result = ok(driver.run(1, "hash_lookup", index.buckets, index.nbuckets, keys, 1, out))
    assert result[0] == 0
    assert process.words(out, 1)[0] == 0
    # And this one its hash, but another length.
    at = index.at[9]
    process.put(at + 56, (len(index.texts[9]) + 1).to_bytes(8, "little"))
    keys = index.keys([index.texts[9]])
    result = ok(driver.run(1, "hash_lookup", index.buckets, index.nbuckets, keys, 1, out))
    assert result[0] == 0


def test_hash_lookup_of_much_text(
    driver: FakeDriver, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys go in batches of so much text; one key has a limit."""
    monkeypatch.setattr("devmodel.device.programs.hash_lookup.BATCH_TEXT", 100)
    index = Index(process, 40, 0)
    keys, out = index.keys([*index.texts, b"x" * 4096]), process.malloc(8 * 41)
    arguments = (index.buckets, index.nbuckets, keys)
    assert ok(driver.run(1, "hash_lookup", *arguments, 41, out))[0] == 40
    assert process.words(out, 41).tolist() == [*index.counts, 0]
    keys = index.keys([b"x" * 4097])
    completion = driver.run(1, "hash_lookup", index.buckets, index.nbuckets, keys, 1, out)
    assert completion.status == Status.BAD_ARGUMENT


def test_word_count(driver: FakeDriver, process: Process) -> None:
    index = Index(process, 300, 0)
    out = process.malloc(512)
    process.put(out, np.full(64, 9, dtype=np.uint64))
    result = ok(driver.run(1, "word_count", index.buckets, index.nbuckets, out))
    assert result == (300, sum(index.counts))
    bins = np.bincount(np.minimum(index.chains, 63), minlength=64) + 9
    assert process.words(out, 64).tolist() == bins.tolist()


def test_edges_that_lead_nowhere(driver: FakeDriver, process: Process) -> None:
    index = Index(process, 3, 0)
    edges = process.malloc(PAGE)
    process.put(edges, np.array([(edges + 24, 0, 1), (0, index.at[1], 1)], dtype=EDGE))
    process.put(index.at[0] + 32, edges.to_bytes(8, "little"))
    assert ok(driver.run(1, "bfs", index.at[0], 1, 9)) == (2, 2)


@pytest.mark.parametrize("max_depth", [0, 2, 1 << 40])
def test_bfs(driver: FakeDriver, process: Process, max_depth: int) -> None:
    index = Index(process, 300, 700)
    depths, walked, queue = {3: 0}, 0, deque([3])
    while queue:
        word = queue.popleft()
        if depths[word] >= max_depth:
            continue
        for target in index.links[word]:
            walked += 1
            if target not in depths:
                depths[target] = depths[word] + 1
                queue.append(target)
    assert ok(driver.run(1, "bfs", index.at[3], 77, max_depth)) == (len(depths), walked)
    marks = [int(process.words(at + 24, 1)[0]) for at in index.at]
    assert marks == [(77 << 32 | depths[i] + 1) if i in depths else 0 for i in range(300)]
    # All that was reached carries the mark now.
    assert ok(driver.run(1, "bfs", index.at[3], 77, max_depth)) == (0, 0)
    assert ok(driver.run(1, "bfs", 0, 77, max_depth)) == (0, 0)


def test_unmapped_ends_in_a_fault(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(3 * PAGE)
    completion = driver.run(1, "fill", va, 4 * 512, 1)
    assert completion.status == Status.FAULT
    assert completion.fault_va == va + 3 * PAGE
    assert completion.fault_access == Access.WRITE


def test_write_to_a_read_only_page_ends_in_a_fault(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE, write=False)
    assert ok(driver.run(1, "sum", va, 512)) == (0, 0)
    completion = driver.run(1, "fill", va, 1, 9)
    assert (completion.status, completion.fault_va) == (Status.FAULT, va)
    assert completion.fault_access == Access.WRITE
    assert process.words(va, 1)[0] == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hash_lookup", (1, 3, 2, 1, 1)),
        ("word_count", (1, 0, 1)),
        ("bfs", (1, 1 << 32, 1)),
        ("fill", (1, 1)),
        ("fill", (1, 1, 1, 1)),
    ],
)
def test_impossible_arguments(
    driver: FakeDriver, process: Process, name: str, arguments: tuple[int, ...]
) -> None:
    assert driver.run(process.ctx, name, *arguments).status == Status.BAD_ARGUMENT
