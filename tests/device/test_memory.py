"""The apertures against a dictionary of bytes: what is in no piece is never touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.device.memory import HBM_BASE, BadAddress, Memory

# Two pieces of RAM that touch, one beyond a hole, and HBM: a range never spans two of them.
PIECES = ((0, 64), (64, 32), (4096, 64), (HBM_BASE, 64))
EDGES = [edge for base, size in PIECES for edge in (base, base + size)]
ADDRESSES = st.builds(
    lambda edge, near: max(edge + near, 0), st.sampled_from(EDGES), st.integers(-20, 20)
) | st.integers(0, (1 << 64) - 1)
SIZES = st.sampled_from([1, 3, 8, 24, 33, 65])


def make() -> tuple[Memory, dict[int, int]]:
    plain: dict[int, int] = {}
    arrays = []
    for base, size in PIECES:
        data = np.arange(size, dtype=np.uint8) + np.uint8(base % 251)
        arrays.append((base, data))
        plain |= {base + i: int(v) for i, v in enumerate(data)}
    return Memory(arrays[:-1], arrays[-1][1]), plain


def inside(bus: int, length: int) -> bool:
    return any(base <= bus < base + size and bus + length <= base + size for base, size in PIECES)


def content(memory: Memory) -> dict[int, int]:
    return {p.base + i: int(v) for p in memory.pieces for i, v in enumerate(p.data)}


@given(ADDRESSES, SIZES)
def test_scalar_accesses(bus: int, length: int) -> None:
    memory, plain = make()
    assert memory.holds(bus, length) == inside(bus, length)
    if inside(bus, length):
        assert memory.read(bus, length) == bytes(plain[bus + i] for i in range(length))
        assert memory.span(bus, length).tobytes() == memory.read(bus, length)
        memory.write(bus, bytes(length))
        plain |= {bus + i: 0 for i in range(length)}
    else:
        for attempt in (
            lambda: memory.read(bus, length),
            lambda: memory.write(bus, bytes(length)),
            lambda: memory.span(bus, length),
        ):
            with pytest.raises(BadAddress):
                attempt()
    assert content(memory) == plain


@given(ADDRESSES)
def test_words(bus: int) -> None:
    memory, plain = make()
    numbers, good = memory.gather_words(np.array([bus & ~7], dtype=np.uint64))
    assert bool(good[0]) == inside(bus & ~7, 8)
    if not inside(bus, 8) or bus % 8:
        with pytest.raises(BadAddress):
            memory.read_word(bus)
        with pytest.raises(BadAddress):
            memory.write_word(bus, 0)
    else:
        expected = int.from_bytes(bytes(plain[bus + i] for i in range(8)), "little")
        assert memory.read_word(bus) == expected == numbers[0]
        memory.write_word(bus, (1 << 64) - 1)
        plain |= {bus + i: 255 for i in range(8)}
    assert content(memory) == plain


@given(st.lists(ADDRESSES, max_size=12), SIZES)
def test_gather_and_scatter(buses: list[int], size: int) -> None:
    memory, plain = make()
    where = np.array(buses, dtype=np.uint64)
    assert memory.contains(where, size).tolist() == [inside(bus, size) for bus in buses]
    items = np.frombuffer(bytes(range(100, 100 + len(buses))) * size, dtype=f"V{size}")
    if all(inside(bus, size) for bus in buses):
        expected = b"".join(bytes(plain[bus + i] for i in range(size)) for bus in buses)
        assert memory.gather(where, size).tobytes() == expected
        memory.scatter(where, items)
        for bus, item in zip(buses, items, strict=True):
            plain |= {bus + i: byte for i, byte in enumerate(item.tobytes())}
    else:
        # All or nothing.
        with pytest.raises(BadAddress):
            memory.gather(where, size)
        with pytest.raises(BadAddress):
            memory.scatter(where, items)
    assert content(memory) == plain


@given(st.lists(st.sampled_from([0, 7, 63, 64, 4100, HBM_BASE + 63]), min_size=1))
def test_or_bytes(buses: list[int]) -> None:
    memory, plain = make()
    memory.or_bytes(np.array(buses, dtype=np.uint64), 0x83)
    plain |= {bus: plain[bus] | 0x83 for bus in buses}
    assert content(memory) == plain


@pytest.mark.parametrize(
    ("pieces", "hbm", "message"),
    [
        ([(0, 64), (56, 64)], 0, "overlaps"),
        ([(4, 64)], 0, "multiples of 8"),
        ([(0, 60)], 0, "multiples of 8"),
        ([(HBM_BASE - 8, 64)], 0, "SYSTEM aperture"),
    ],
)
def test_impossible_memory(pieces: list[tuple[int, int]], hbm: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Memory([(b, np.zeros(n, np.uint8)) for b, n in pieces], np.zeros(hbm, np.uint8))


def test_memory_must_be_plain_and_writable() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        Memory([(0, np.zeros(64, np.uint8)[::2])])
    with pytest.raises(ValueError, match="writable"):
        Memory([(0, np.frombuffer(bytes(64), np.uint8))])
