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

from devmodel.abi.rings import Access
from devmodel.device.memory import Addresses
from devmodel.device.port import MASK64, Indices, Items, Port

# Bounds of what one suspended access reports at a time.
MAX_FAULT_PAGES = 512
MAX_FAULT_RECORDS = 64

# What an access costs beside its bytes, and each element of a gather at least, in bytes that
# could be moved in that time: it is time that a burst bounds.
_ACCESS_COST = 16384
_ELEMENT_COST = 128

# Fewer elements than this are done one by one: measured, 1.3 us each against 50 us in all.
_FEW = 40
# Results of one access live in the agent's own memory.
_LARGEST = 1 << 28


class BadArgument(Exception):
    """Raised by a program for an argument that makes no sense: Status.BAD_ARGUMENT."""


class Pause:
    """What a program yields to the scheduler when its burst is used up."""


@dataclass(frozen=True)
class Missing:
    """What a program yields on a fault: runs of pages, as (va, npages), that it waits for.

    With Access.POISON one page, and its bus address.
    """

    access: Access
    runs: tuple[tuple[int, int], ...]
    bus: int = 0


_PAUSE = Pause()


@types.coroutine
def _suspend(event: Pause | Missing) -> Generator[Pause | Missing, None, None]:
    yield event


class ProgramMemory:
    """The address space of one context, for one running program.

    Addresses are 64-bit and wrap around; elements may lie anywhere and cross pages. `dtype` is
    any numpy dtype of fixed size, structured ones included. `ValueError` for arrays of the wrong
    shape and for elements larger than a page.
    """

    def __init__(self, port: Port, burst_bytes: int) -> None:
        self._port = port
        self._burst = burst_bytes
        self._budget = burst_bytes

    def new_burst(self) -> None:
        """Called by the scheduler before it lets the program go on."""
        self._budget = self._burst

    # What programs call

    async def load(self, va: int, count: int, dtype: npt.DTypeLike = np.uint64) -> npt.NDArray[Any]:
        """`count` elements of `dtype`, contiguous at `va`; shape (count,)."""
        kind = np.dtype(dtype)
        out = np.empty(_size_of(count, kind) // kind.itemsize, dtype=kind)
        await self._contiguous(int(va), out.view(np.uint8).data, Access.READ)
        return out

    async def store(self, va: int, values: npt.ArrayLike) -> None:
        """Store the array `values`, in its own dtype, contiguous at `va`."""
        data = np.ascontiguousarray(values).reshape(-1)
        _size_of(data.size, data.dtype)
        await self._contiguous(int(va), data.view(np.uint8).data, Access.WRITE)

    async def gather(
        self, vas: npt.ArrayLike, dtype: npt.DTypeLike = np.uint64
    ) -> npt.NDArray[Any]:
        """One element of `dtype` at each address of `vas` (integers, shape (n,)); shape (n,)."""
        addresses, kind = _addresses(vas), np.dtype(dtype)
        size = kind.itemsize
        self._check_element(addresses.size, kind)
        if addresses.size < _FEW:
            await self._charge(addresses.size * size)
            return np.frombuffer(await self._load_few(addresses.tolist(), size), dtype=kind)
        out = np.empty(addresses.size, dtype=kind)
        await self._elements(addresses, out.view(f"V{size}"), Access.READ)
        return out

    async def scatter(self, vas: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Store `values` (shape (n,), in its own dtype) at the addresses `vas` (shape (n,)).

        Of two values for one address either may stay.
        """
        addresses, data = _addresses(vas), np.ascontiguousarray(values)
        if data.shape != addresses.shape:
            raise ValueError(f"scatter of {data.shape} values to {addresses.shape} addresses")
        self._check_element(addresses.size, data.dtype)
        if addresses.size < _FEW:
            await self._charge(data.nbytes)
            await self._store_few(addresses.tolist(), data.view(np.uint8).data, data.itemsize)
        else:
            await self._elements(addresses, data.view(f"V{data.itemsize}"), Access.WRITE)

    async def add(self, va: int, value: int) -> int:
        """Add to the aligned 64-bit word at `va`; returns the old value. Nothing comes between.

        Not even a CPU: the driver has to give this device the page alone, and where it cannot
        (shared memory, files) the program ends with a fault of Access.ATOMIC.
        """
        va = int(va) & MASK64
        if va % 8:
            raise BadArgument(f"add to {va:#x}, which is not a multiple of 8")
        await self._charge(8)
        while (old := self._port.add(va, int(value))) is None:
            await self._miss_page(va, Access.ATOMIC)
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
        """Report pages (distinct, ascending, one at least) and wait."""
        failed = self._port.find_failed(vpns)
        if failed is not None:
            va, bus = failed
            await _suspend(Missing(Access.POISON, ((va, 1),), bus))
            return
        await _suspend(Missing(access, _runs(vpns[:MAX_FAULT_PAGES], self._port.shift)))

    async def _miss_page(self, va: int, access: Access) -> None:
        await self._miss(np.array([va >> self._port.shift], dtype=np.uint64), access)

    async def _contiguous(self, va: int, data: memoryview, access: Access) -> None:
        """Load into, or store from, all of `data`."""
        page = self._port.page
        start = 0
        while start < len(data):
            # At least a page, so that a tiny burst still gets somewhere.
            length = min(len(data) - start, max(self._burst, page))
            await self._charge(length)
            address = (va + start) & MASK64
            part = data[start : start + length]
            skip = address & (page - 1)
            if skip + length <= page:
                while not self._port.within_page(address, part, access):
                    await self._miss_page(address, access)
            else:
                todo = np.arange((skip + length + page - 1) // page, dtype=np.uint64)
                while todo.size:
                    todo, missing = self._port.across_pages(address, part, access, todo)
                    if todo.size:
                        await self._miss(missing, access)
            start += length

    async def _load_few(self, vas: list[int], size: int) -> bytearray:
        found, missing = self._port.few(vas, size, Access.READ)
        if not missing.size:
            return bytearray().join([part for parts in found for part in parts or ()])
        # What lies in memory is not there any more after an await.
        loaded = [None if parts is None else b"".join(parts) for parts in found]
        while missing.size:
            await self._miss(missing, Access.READ)
            todo = [index for index, data in enumerate(loaded) if data is None]
            found, missing = self._port.few([vas[index] for index in todo], size, Access.READ)
            for index, parts in zip(todo, found, strict=True):
                if parts is not None:
                    loaded[index] = b"".join(parts)
        return bytearray().join([data for data in loaded if data is not None])

    async def _store_few(self, vas: list[int], data: memoryview, size: int) -> None:
        todo = list(range(len(vas)))
        while True:
            found, missing = self._port.few([vas[index] for index in todo], size, Access.WRITE)
            for index, parts in zip(todo, found, strict=True):
                start = index * size
                for part in parts or ():
                    part[:] = data[start : start + len(part)]
                    start += len(part)
            todo = [index for index, parts in zip(todo, found, strict=True) if parts is None]
            if not missing.size:
                return
            await self._miss(missing, Access.WRITE)

    async def _elements(self, vas: Addresses, items: Items, access: Access) -> None:
        """Load into, or store from, `items` one element at each of `vas`."""
        each = max(items.dtype.itemsize, _ELEMENT_COST)
        step = max(self._burst // each, 1)
        for start in range(0, vas.size, step):
            chunk, part = vas[start : start + step], items[start : start + step]
            await self._charge(chunk.size * each)
            todo: Indices | None = None
            while todo is None or todo.size:
                todo, missing = self._port.many(chunk, part, access, todo)
                if todo.size:
                    await self._miss(missing, access)

    def _check_element(self, count: int, kind: np.dtype[Any]) -> None:
        _size_of(count, kind)
        if kind.itemsize > self._port.page:
            raise ValueError(f"an element of {kind.itemsize} bytes is larger than a page")


def _addresses(vas: npt.ArrayLike) -> Addresses:
    addresses = np.ascontiguousarray(vas)
    if addresses.ndim != 1 or (addresses.size and addresses.dtype.kind not in "iu"):
        raise ValueError("addresses must be a one-dimensional array of integers")
    return addresses.astype(np.uint64, copy=False)


def _size_of(count: int, kind: np.dtype[Any]) -> int:
    size = int(count) * kind.itemsize
    if kind.hasobject or not kind.itemsize:
        raise ValueError(f"elements of dtype {kind} do not lie in memory")
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"an access of {size} bytes: at most {_LARGEST} at a time")
    return size


def _runs(vpns: Addresses, shift: int) -> tuple[tuple[int, int], ...]:
    """Ascending page numbers as at most MAX_FAULT_RECORDS runs of (va, pages)."""
    breaks = np.flatnonzero(np.diff(vpns) != 1) + 1
    runs = np.split(vpns, breaks)[:MAX_FAULT_RECORDS]
    return tuple((int(run[0]) << shift, int(run.size)) for run in runs)
