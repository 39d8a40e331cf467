"""The memory as a device program sees it: vectorised accesses to virtual addresses.

An access that meets pages without a translation does what it can, reports *all* pages it still
misses (up to a bound) and suspends the program. When the driver has them replayed it goes on
with what is left. So an access to more pages than HBM can hold at a time still ends, and one
batch of fault records serves a whole gather.

Accesses are cut into pieces of a burst, and the program is set aside between them when its
burst is used up: whatever awaits its accesses is bounded.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from devmodel.abi.registers import Counters
from devmodel.abi.rings import Access
from devmodel.device.memory import HBM_BASE, Addresses, Memory
from devmodel.device.mmu import Context, Mmu

_MASK64 = (1 << 64) - 1

# Bounds of what one suspended access reports at a time.
MAX_FAULT_PAGES = 512
MAX_FAULT_RECORDS = 64

# An access costs as much as moving so many bytes, and each element of a gather at least so many:
# it is time that a burst bounds.
_ACCESS_COST = 2048
_ELEMENT_COST = 64

# Fewer elements than this are done one by one.
_FEW = 16
# Results of one access live in the agent's own memory.
_LARGEST = 1 << 28


class BadArgument(Exception):
    """Raised by a program for an argument that makes no sense: Status.BAD_ARGUMENT."""


class Pause:
    """What a program yields to the scheduler when its burst is used up."""


@dataclass(frozen=True)
class Missing:
    """What a program yields on a fault: runs of pages, as (va, npages), that it waits for."""

    access: Access
    runs: tuple[tuple[int, int], ...]


_PAUSE = Pause()


@types.coroutine
def _suspend(event: Pause | Missing) -> Generator[Pause | Missing, None, None]:
    yield event


class ProgramMemory:
    """The address space of one context, for one running program.

    Addresses are 64-bit and wrap around; elements may lie anywhere and cross pages.
    """

    def __init__(
        self, memory: Memory, mmu: Mmu, counters: Counters, context: Context, burst_bytes: int
    ) -> None:
        self._memory = memory
        self._mmu = mmu
        self._counters = counters
        self._context = context
        self._burst = burst_bytes
        self._budget = burst_bytes
        self._shift = mmu.page_shift
        self._page = mmu.page_size

    def new_burst(self) -> None:
        """Called by the scheduler before it lets the program go on."""
        self._budget = self._burst

    # What programs call

    async def load(self, va: int, count: int, dtype: npt.DTypeLike = np.uint64) -> npt.NDArray[Any]:
        """`count` elements of `dtype`, contiguous at `va`; shape (count,)."""
        kind = np.dtype(dtype)
        out = np.empty(_size_of(count, kind) // kind.itemsize, dtype=kind)
        await self._contiguous(int(va), out.view(np.uint8).reshape(-1), Access.READ)
        return out

    async def store(self, va: int, values: npt.ArrayLike) -> None:
        """Store the array `values`, in its own dtype, contiguous at `va`."""
        data = np.ascontiguousarray(values).reshape(-1)
        await self._contiguous(int(va), data.view(np.uint8), Access.WRITE)

    async def gather(
        self, vas: npt.ArrayLike, dtype: npt.DTypeLike = np.uint64
    ) -> npt.NDArray[Any]:
        """One element of `dtype` at each address of `vas` (integers, shape (n,)); shape (n,)."""
        addresses, kind = _addresses(vas), np.dtype(dtype)
        _size_of(addresses.size, kind)
        out = np.empty(addresses.size, dtype=kind)
        await self._elements(addresses, out.view(f"V{kind.itemsize}"), Access.READ)
        return out

    async def scatter(self, vas: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Store `values` (shape (n,), in its own dtype) at the addresses `vas` (shape (n,)).

        Of two values for one address either may stay.
        """
        addresses, data = _addresses(vas), np.ascontiguousarray(values)
        if data.shape != addresses.shape:
            raise ValueError(f"scatter of {data.shape} values to {addresses.shape} addresses")
        await self._elements(addresses, data.view(f"V{data.itemsize}"), Access.WRITE)

    async def add(self, va: int, value: int) -> int:
        """Add to the aligned 64-bit word at `va`; returns the old value. Nothing comes between."""
        va = int(va) & _MASK64
        if va % 8:
            raise BadArgument(f"add to {va:#x}, which is not a multiple of 8")
        await self._charge(8)
        while True:
            bus = self._mmu.translate(self._context, va, write=True)
            if bus >= 0:
                break
            await self._miss(np.array([va >> self._shift], dtype=np.uint64), Access.WRITE)
        old = self._memory.read_word(bus)
        self._memory.write_word(bus, (old + int(value)) & _MASK64)
        self._count(bus, 8, Access.READ)
        self._count(bus, 8, Access.WRITE)
        return old

    async def pause(self) -> None:
        """Let others go on: for programs that compute long without touching memory."""
        await _suspend(_PAUSE)

    # How it is done

    async def _charge(self, cost: int) -> None:
        if self._budget <= 0:
            await _suspend(_PAUSE)
        self._budget -= cost + _ACCESS_COST

    async def _miss(self, vpns: Addresses, access: Access) -> None:
        """Report pages (distinct, ascending) and wait."""
        await _suspend(Missing(access, _runs(vpns[:MAX_FAULT_PAGES], self._shift)))

    def _count(self, bus: int, length: int, access: Access) -> None:
        counters = self._counters
        if access == Access.READ:
            if bus >= HBM_BASE:
                counters.local_bytes_read += length
            else:
                counters.remote_bytes_read += length
        elif bus >= HBM_BASE:
            counters.local_bytes_written += length
        else:
            counters.remote_bytes_written += length

    async def _contiguous(self, va: int, data: npt.NDArray[np.uint8], access: Access) -> None:
        """Load into, or store from, all of `data`."""
        view, start = data.data, 0
        while start < data.size:
            # At least a page, so that a tiny burst still gets somewhere.
            length = min(data.size - start, max(self._burst, self._page))
            await self._charge(length)
            address = (va + start) & _MASK64
            part = view[start : start + length]
            if (address & (self._page - 1)) + length <= self._page:
                while not self._within_page(address, part, access):
                    await self._miss(np.array([address >> self._shift], dtype=np.uint64), access)
            else:
                await self._across_pages(address, part, access)
            start += length

    def _within_page(self, va: int, part: memoryview, access: Access) -> bool:
        bus = self._mmu.translate(self._context, va, access == Access.WRITE)
        if bus < 0:
            return False
        self._transfer(bus, part, access)
        return True

    def _transfer(self, bus: int, part: memoryview, access: Access) -> None:
        piece, offset = self._memory.find(bus, len(part))
        if access == Access.READ:
            part[:] = piece.view[offset : offset + len(part)]
        else:
            piece.view[offset : offset + len(part)] = part
        self._count(bus, len(part), access)

    async def _across_pages(self, va: int, part: memoryview, access: Access) -> None:
        skip = va & (self._page - 1)
        count = (skip + len(part) + self._page - 1) >> self._shift
        todo = np.arange(count, dtype=np.uint64)
        first = np.uint64(va >> self._shift)
        top = np.uint64(_MASK64 >> self._shift)
        while True:
            vpns = (first + todo) & top
            frames, good = self._mmu.translate_pages(self._context, vpns, access == Access.WRITE)
            done, buses = todo[good].tolist(), frames[good].tolist()
            position = 0
            while position < len(done):
                # Neighbours in both address spaces go as one copy.
                page, bus, run = done[position], buses[position], 1
                while (
                    position + run < len(done)
                    and done[position + run] == page + run
                    and buses[position + run] == bus + (run << self._shift)
                ):
                    run += 1
                begin = (page << self._shift) - skip
                end = min(begin + (run << self._shift), len(part))
                self._transfer(bus + max(-begin, 0), part[max(begin, 0) : end], access)
                position += run
            if good.all():
                return
            todo = todo[~good]
            await self._miss(np.sort(vpns[~good]), access)

    async def _elements(self, vas: Addresses, items: npt.NDArray[np.void], access: Access) -> None:
        """Load into, or store from, `items` one element at each of `vas`."""
        size = items.dtype.itemsize
        if size > self._page:
            raise ValueError(f"an element of {size} bytes is larger than a page")
        each = max(size, _ELEMENT_COST)
        step = max(self._burst // each, 1)
        for start in range(0, vas.size, step):
            chunk = vas[start : start + step]
            await self._charge(chunk.size * each)
            if chunk.size < _FEW:
                await self._few(chunk.tolist(), items[start : start + step], access)
            else:
                await self._many(chunk, items[start : start + step], access)

    async def _few(self, vas: list[int], items: npt.NDArray[np.void], access: Access) -> None:
        size = items.dtype.itemsize
        view = items.view(np.uint8).data
        todo = list(range(len(vas)))
        while True:
            left, missing = [], set[int]()
            for index in todo:
                part = view[index * size : (index + 1) * size]
                va = vas[index]
                ends = [(va, part)]
                room = self._page - (va & (self._page - 1))
                if size > room:
                    ends = [(va, part[:room]), ((va + room) & _MASK64, part[room:])]
                write = access == Access.WRITE
                buses = [self._mmu.translate(self._context, at, write) for at, _ in ends]
                if min(buses) >= 0:
                    for bus, (_, piece) in zip(buses, ends, strict=True):
                        self._transfer(bus, piece, access)
                else:
                    left.append(index)
                    missing |= {
                        at >> self._shift
                        for bus, (at, _) in zip(buses, ends, strict=True)
                        if bus < 0
                    }
            if not left:
                return
            todo = left
            await self._miss(np.array(sorted(missing), dtype=np.uint64), access)

    async def _many(self, vas: Addresses, items: npt.NDArray[np.void], access: Access) -> None:
        size = items.dtype.itemsize
        todo: npt.NDArray[np.intp] | None = None
        shift, low = np.uint64(self._shift), np.uint64(self._page - 1)
        top = np.uint64(_MASK64 >> self._shift)
        while True:
            at = vas if todo is None else vas[todo]
            first, offset = at >> shift, at & low
            crossing = np.flatnonzero(offset > self._page - size) if size > 1 else _NONE
            second = (first[crossing] + np.uint64(1)) & top
            pages, where = _distinct(np.concatenate((first, second)) if crossing.size else first)
            frames, good = self._mmu.translate_pages(self._context, pages, access == Access.WRITE)
            bus = frames[where[: at.size]] + offset
            beyond = frames[where[at.size :]]
            if todo is None and good.all():
                self._transfer_many(bus, items, crossing, beyond, access)
                return
            ready = good[where[: at.size]]
            ready[crossing] &= good[where[at.size :]]
            numbers = np.arange(vas.size) if todo is None else todo
            chosen = numbers[ready]
            kept = ready[crossing]
            # Positions of the crossing elements among the ready ones.
            positions = (np.cumsum(ready) - 1)[crossing[kept]]
            part = items[chosen]
            self._transfer_many(bus[ready], part, positions, beyond[kept], access)
            if access == Access.READ:
                items[chosen] = part
            todo = numbers[~ready]
            if not todo.size:
                return
            await self._miss(pages[~good], access)

    def _transfer_many(
        self,
        bus: Addresses,
        items: npt.NDArray[np.void],
        crossing: npt.NDArray[np.intp],
        beyond: Addresses,
        access: Access,
    ) -> None:
        """Elements at `bus`; those numbered `crossing` go on at the page `beyond`."""
        if not bus.size:
            return
        size = items.dtype.itemsize
        local = int(np.count_nonzero(bus >= HBM_BASE)) * size
        self._count(HBM_BASE, local, access)
        self._count(0, bus.size * size - local, access)
        if not crossing.size:
            self._plain(bus, items, access)
            return
        whole = np.ones(bus.size, dtype=np.bool_)
        whole[crossing] = False
        room = np.uint64(self._page) - (bus[crossing] & np.uint64(self._page - 1))
        column = np.arange(size, dtype=np.uint64)
        head = bus[crossing, None] + column
        tail = beyond[:, None] + column - room[:, None]
        each = np.where(column < room[:, None], head, tail).reshape(-1)
        rest, split = items[whole], items[crossing]
        split_bytes = split.view("V1").reshape(-1)
        self._plain(bus[whole], rest, access)
        self._plain(each, split_bytes, access)
        if access == Access.READ:
            items[whole] = rest
            items[crossing] = split

    def _plain(self, bus: Addresses, items: npt.NDArray[np.void], access: Access) -> None:
        if access == Access.READ:
            items[:] = self._memory.gather(bus, items.dtype.itemsize)
        else:
            self._memory.scatter(bus, items)


_NONE = np.empty(0, dtype=np.intp)


def _addresses(vas: npt.ArrayLike) -> Addresses:
    addresses = np.ascontiguousarray(vas)
    if addresses.ndim != 1 or (addresses.size and addresses.dtype.kind not in "iu"):
        raise ValueError("addresses must be a one-dimensional array of integers")
    return addresses.astype(np.uint64, copy=False)


def _size_of(count: int, kind: np.dtype[np.generic]) -> int:
    size = int(count) * kind.itemsize
    if kind.hasobject or not kind.itemsize:
        raise ValueError(f"elements of dtype {kind} do not lie in memory")
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"an access of {size} bytes: at most {_LARGEST} at a time")
    return size


def _distinct(vpns: Addresses) -> tuple[Addresses, npt.NDArray[np.intp]]:
    """The distinct numbers, ascending, and for each of `vpns` its place among them."""
    low = vpns.min()
    span = int(vpns.max() - low) + 1
    if span > 4 * vpns.size + 4096:
        pages, where = np.unique(vpns, return_inverse=True)
        return pages, where
    # They lie close together, which is the rule: marking beats sorting by far.
    near = (vpns - low).astype(np.intp)
    seen = np.zeros(span, dtype=np.bool_)
    seen[near] = True
    pages_near = np.flatnonzero(seen)
    place = np.cumsum(seen) - 1
    return pages_near.astype(np.uint64) + low, place[near]


def _runs(vpns: Addresses, shift: int) -> tuple[tuple[int, int], ...]:
    """Ascending page numbers as at most MAX_FAULT_RECORDS runs of (va, pages)."""
    breaks = np.flatnonzero(np.diff(vpns) != 1) + 1
    runs = np.split(vpns, breaks)[:MAX_FAULT_RECORDS]
    return tuple((int(run[0]) << shift, int(run.size)) for run in runs)
