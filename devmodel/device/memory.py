"""The memory a device can reach: guest RAM and HBM, as one space of bus addresses.

A bus address (devmodel.abi.pagetable) names an aperture and a byte in it. Guest RAM may lie in
several pieces with holes between them, HBM is one piece. Every access is checked here, in one
place, and an access that is not wholly inside one piece does not happen: the scalar calls raise
`BadAddress`, the vectorised ones say which elements are good. `BadAddress` stays inside the
device, where it becomes a status or a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from devmodel.abi.pagetable import PEERS, PTE_APERTURE_SHIFT, Aperture

Bytes = NDArray[np.uint8]
Addresses = NDArray[np.uint64]
Mask = NDArray[np.bool_]

HBM_BASE = Aperture.HBM << PTE_APERTURE_SHIFT
PEER_BASE = Aperture.PEER0 << PTE_APERTURE_SHIFT


def is_local(bus: int) -> bool:
    """Whether a bus address is in the device's own HBM: what is not costs the link."""
    return HBM_BASE <= bus < PEER_BASE


def are_local(bus: Addresses) -> Mask:
    """As `is_local`, for many addresses."""
    return (bus >= HBM_BASE) & (bus < PEER_BASE)


class BadAddress(Exception):
    """A bus address, or a range from it, that is not inside the device's memory."""


class Piece:
    """A contiguous piece of memory: `size` bytes at bus address `base`."""

    def __init__(self, base: int, data: Bytes) -> None:
        if data.dtype != np.uint8 or data.ndim != 1 or not data.flags.c_contiguous:
            raise ValueError("memory must be a contiguous one-dimensional array of uint8")
        if not data.flags.writeable:
            raise ValueError("memory must be writable")
        if base % 8 or data.size % 8:
            raise ValueError("base and size of memory must be multiples of 8")
        self.base = base
        self.size = int(data.size)
        self.end = base + self.size
        self.data = data
        self.view = data.data
        # Aligned items of a cast view are stored and loaded whole; see docs/adr/0001.
        self.words = self.view.cast("Q")
        self.word_array: Addresses = data.view("<u8")
        self._items: dict[int, NDArray[np.void]] = {}

    def items(self, size: int) -> NDArray[np.void]:
        """Every run of `size` bytes, by its offset: overlapping items, for gather and scatter.

        Do not hand this array to np.take: it would make a contiguous copy of it all.
        """
        items = self._items.get(size)
        if items is None:
            items = np.ndarray(
                (max(self.size - size + 1, 0),), dtype=f"V{size}", buffer=self.data, strides=(1,)
            )
            self._items[size] = items
        return items


class Memory:
    """All apertures of a device: `ram` as (guest-physical base, bytes) pieces, `hbm`, and `peers`.

    `peers` are the HBM of other devices, by their number in the machine.
    """

    def __init__(
        self,
        ram: Iterable[tuple[int, Bytes]],
        hbm: Bytes | None = None,
        peers: Mapping[int, Bytes] | None = None,
    ) -> None:
        pieces = [Piece(base, data) for base, data in ram if data.size]
        if any(p.end > HBM_BASE for p in pieces):
            raise ValueError("guest RAM reaches beyond the SYSTEM aperture")
        if hbm is not None and hbm.size:
            pieces.append(Piece(HBM_BASE, hbm))
        for number, data in (peers or {}).items():
            if not 0 <= number < PEERS:
                raise ValueError(f"there is no aperture for device {number}")
            pieces.append(Piece(PEER_BASE + (number << PTE_APERTURE_SHIFT), data))
        self.failing = range(0)
        """bus addresses of what is about to fail, in one piece; and of what has"""
        self.failed = range(0)
        self.pieces = sorted(pieces, key=lambda piece: piece.base)
        for below, above in zip(self.pieces, self.pieces[1:], strict=False):
            if below.end > above.base:
                raise ValueError(f"memory overlaps at {above.base:#x}")

    def written(self, bus: Addresses, length: Addresses) -> None:
        """Something was copied there; if that was where memory is about to fail, it does."""
        weak = self.failing
        if weak and ((bus < weak.stop) & (bus + length > weak.start)).any():
            self._fail()

    def _fail(self) -> None:
        """From now on no access reaches it."""
        bus, length = self.failing.start, len(self.failing)
        piece, offset = self.find(bus, length)
        at = self.pieces.index(piece)
        parts = (
            (piece.base, piece.data[:offset]),
            (bus + length, piece.data[offset + length :]),
        )
        self.pieces[at : at + 1] = [Piece(base, data) for base, data in parts if data.size]
        self.failed, self.failing = self.failing, range(0)

    def has_failed(self, bus: int, length: int) -> bool:
        """Whether any of `length` bytes at `bus` cannot be had any more."""
        return bus < self.failed.stop and bus + length > self.failed.start

    def place(self, bus: int) -> int:
        """Where a bus address really leads, for the trace: there, in memory without faults."""
        return bus

    def places(self, bus: Addresses) -> Addresses:
        """As `place`, for many addresses."""
        return bus

    def find(self, bus: int, length: int) -> tuple[Piece, int]:
        """The piece that holds all `length` bytes at `bus`, and the offset in it."""
        for piece in self.pieces:
            if piece.base <= bus < piece.end and bus + length <= piece.end:
                return piece, bus - piece.base
        raise BadAddress(f"{length} bytes at {bus:#x}")

    def holds(self, bus: int, length: int) -> bool:
        """Whether all `length` bytes at `bus` are in one piece."""
        # Not any(): a generator costs as much as all the rest of a walk.
        for piece in self.pieces:
            if piece.base <= bus < piece.end and bus + length <= piece.end:
                return True
        return False

    def read(self, bus: int, length: int) -> bytes:
        """`length` bytes at `bus`."""
        piece, offset = self.find(bus, length)
        return piece.view[offset : offset + length].tobytes()

    def write(self, bus: int, data: bytes | memoryview) -> None:
        """Store `data` at `bus`."""
        piece, offset = self.find(bus, len(data))
        piece.view[offset : offset + len(data)] = data

    def read_word(self, bus: int) -> int:
        """The aligned 64-bit word at `bus`, loaded whole."""
        if not bus & 7:
            # Spelled out, because each step of a walk comes here. Pieces are made of words.
            for piece in self.pieces:
                if piece.base <= bus < piece.end:
                    return piece.words[bus - piece.base >> 3]
        raise BadAddress(f"word at {bus:#x}")

    def write_word(self, bus: int, value: int) -> None:
        """Store the aligned 64-bit word at `bus` whole."""
        piece, offset = self.find(bus, 8)
        if offset % 8:
            raise BadAddress(f"word at {bus:#x}")
        piece.words[offset >> 3] = value

    def span(self, bus: int, length: int) -> Bytes:
        """`length` bytes at `bus` as a view: what is stored there shows, and the reverse."""
        piece, offset = self.find(bus, length)
        return piece.data[offset : offset + length]

    def contains(self, bus: Addresses, length: int) -> Mask:
        """Per address: whether `length` bytes from there are in one piece."""
        good = np.zeros(bus.shape, dtype=np.bool_)
        for piece in self.pieces:
            if piece.size >= length:
                good |= (bus >= piece.base) & (bus <= piece.end - length)
        return good

    def _split(self, bus: Addresses, length: int) -> list[tuple[Piece, Addresses, Mask | None]]:
        """`bus` by piece: (piece, offsets, which elements; None for all). Checks every address."""
        if not bus.size:
            return []
        low, high = int(bus.min()), int(bus.max())
        parts: list[tuple[Piece, Addresses, Mask | None]] = []
        found = 0
        for piece in self.pieces:
            if piece.base <= low and high + length <= piece.end:
                return [(piece, bus - np.uint64(piece.base), None)]
            if piece.size < length or high < piece.base or low >= piece.end:
                continue
            mask = (bus >= piece.base) & (bus <= piece.end - length)
            count = int(np.count_nonzero(mask))
            if count:
                found += count
                parts.append((piece, bus[mask] - np.uint64(piece.base), mask))
        if found != bus.size:
            raise BadAddress(f"{bus.size - found} of {bus.size} items of {length} bytes")
        return parts

    def gather(self, bus: Addresses, size: int) -> NDArray[np.void]:
        """Items of `size` bytes at any addresses `bus`; shape as `bus`, dtype ``V{size}``."""
        parts = self._split(bus, size)
        if len(parts) == 1:
            piece, offsets, _ = parts[0]
            return _load(piece, offsets, size)
        out = np.empty(bus.shape, dtype=f"V{size}")
        for piece, offsets, mask in parts:
            out[mask] = _load(piece, offsets, size)
        return out

    def scatter(self, bus: Addresses, items: NDArray[np.void]) -> None:
        """Store `items` (dtype ``V{size}``) at `bus`. Of two at one address the later stays."""
        size = items.dtype.itemsize
        for piece, offsets, mask in self._split(bus, size):
            _save(piece, offsets, items if mask is None else items[mask])

    def gather_words(self, bus: Addresses) -> tuple[Addresses, Mask]:
        """Aligned 64-bit words at `bus`, and which of them exist; the others are 0."""
        out = np.zeros(bus.shape, dtype=np.uint64)
        good = np.zeros(bus.shape, dtype=np.bool_)
        for piece in self.pieces:
            mask = (bus >= piece.base) & (bus <= piece.end - 8)
            if mask.all():
                return piece.word_array[(bus - np.uint64(piece.base)) >> np.uint64(3)], mask
            if mask.any():
                offsets = bus[mask] - np.uint64(piece.base)
                out[mask] = piece.word_array[offsets >> np.uint64(3)]
                good |= mask
        return out, good

    def or_bytes(self, bus: Addresses, bits: int) -> None:
        """Set `bits` in the bytes at `bus`, by one-byte stores, and only where they lack any."""
        for piece, offsets, _ in self._split(bus, 1):
            old = piece.data[offsets]
            lacking = (old & bits) != bits
            if lacking.any():
                piece.data[offsets[lacking]] = old[lacking] | np.uint8(bits)

    def clear_bytes(self, bus: Addresses, bits: int) -> None:
        """Clear `bits` in the bytes at `bus`, by one-byte stores."""
        for piece, offsets, _ in self._split(bus, 1):
            piece.data[offsets] &= np.uint8(~bits & 0xFF)


def _load(piece: Piece, offsets: Addresses, size: int) -> NDArray[np.void]:
    # Aligned words are three times as fast, and whole for a guest that stores at the same time.
    if size == 8 and not (np.bitwise_or.reduce(offsets) & np.uint64(7)):
        words: NDArray[np.void] = piece.word_array[offsets >> np.uint64(3)].view("V8")
        return words
    return piece.items(size)[offsets]


def _save(piece: Piece, offsets: Addresses, items: NDArray[np.void]) -> None:
    if items.dtype.itemsize == 8 and not (np.bitwise_or.reduce(offsets) & np.uint64(7)):
        piece.word_array[offsets >> np.uint64(3)] = items.view("<u8")
    else:
        piece.items(items.dtype.itemsize)[offsets] = items
