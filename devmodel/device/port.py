"""A context's way to memory: attempts at accesses, each a translation and its use in one go.

Nothing here awaits, so no translation outlives a look at the control ring. An attempt does what
has a translation and says what is left and which pages are missing; `access` suspends the
program and tries again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.rings import Access
from devmodel.device.distinct import distinct_places
from devmodel.device.memory import Addresses, Memory, are_local, is_local
from devmodel.device.mmu import Context, Mmu

MASK64 = (1 << 64) - 1

Indices = npt.NDArray[np.intp]
Items = npt.NDArray[np.void]

_NONE: Indices = np.empty(0, dtype=np.intp)


class Port:
    """Reads and writes of one context. Addresses are 64-bit and wrap around."""

    def __init__(
        self, memory: Memory, mmu: Mmu, counters: DeviceCounters, context: Context
    ) -> None:
        self._memory = memory
        self._mmu = mmu
        self._counters = counters
        self._context = context
        self.page = mmu.page_size
        self.shift = mmu.page_shift

    def _count(self, local: int, remote: int, access: Access) -> None:
        if access == Access.READ:
            self._counters.local_bytes_read += local
            self._counters.remote_bytes_read += remote
        else:
            self._counters.local_bytes_written += local
            self._counters.remote_bytes_written += remote

    def _transfer(self, bus: int, part: memoryview, access: Access) -> None:
        """Between `part` and memory that is contiguous at `bus`."""
        length = len(part)
        piece, offset = self._memory.find(bus, length)
        if access == Access.READ:
            part[:] = piece.view[offset : offset + length]
        else:
            piece.view[offset : offset + length] = part
        local = is_local(bus)
        self._count(length * local, length * (not local), access)

    def find_failed(self, vpns: Addresses) -> tuple[int, int] | None:
        """As `Mmu.find_failed`, in this context."""
        return self._mmu.find_failed(self._context, vpns)

    # A word

    def add(self, va: int, value: int) -> int | None:
        """Add to the aligned word at `va`: its old value, or None without a translation.

        Nothing comes between its load and its store in this device, and the translation says
        that nobody else reaches the page.
        """
        bus = self._mmu.translate(self._context, va, write=True, atomic=True)
        if bus < 0:
            return None
        old = self._memory.read_word(bus)
        self._memory.write_word(bus, (old + value) & MASK64)
        local = is_local(bus)
        for access in (Access.READ, Access.WRITE):
            self._count(8 * local, 8 * (not local), access)
        return old

    # A range

    def within_page(self, va: int, part: memoryview, access: Access) -> bool:
        """Transfer `part`, which does not cross a page. False without a translation."""
        bus = self._mmu.translate(self._context, va, access == Access.WRITE)
        if bus < 0:
            return False
        self._transfer(bus, part, access)
        return True

    def across_pages(
        self, va: int, part: memoryview, access: Access, todo: Addresses
    ) -> tuple[Addresses, Addresses]:
        """Transfer those pages of `part`, at `va`, that are numbered in `todo` (0: the first).

        Returns the numbers that are left, and their page numbers, ascending.
        """
        skip = va & (self.page - 1)
        vpns = (np.uint64(va >> self.shift) + todo) & np.uint64(MASK64 >> self.shift)
        frames, good = self._mmu.translate_pages(self._context, vpns, access == Access.WRITE)
        done, buses = todo[good].tolist(), frames[good].tolist()
        position = 0
        while position < len(done):
            # Neighbours in both address spaces go as one.
            page, bus, run = done[position], buses[position], 1
            while (
                position + run < len(done)
                and done[position + run] == page + run
                and buses[position + run] == bus + (run << self.shift)
            ):
                run += 1
            begin = (page << self.shift) - skip
            end = min(begin + (run << self.shift), len(part))
            self._transfer(bus + max(-begin, 0), part[max(begin, 0) : end], access)
            position += run
        return todo[~good], np.sort(vpns[~good])

    # Few elements

    def few(
        self, vas: list[int], size: int, access: Access
    ) -> tuple[list[list[memoryview] | None], Addresses]:
        """Per element of `size` bytes where they lie, in one or two parts; None: no translation.

        And the page numbers, ascending, that are missing. The views are to be used at once.
        """
        write, low, shift = access == Access.WRITE, self.page - 1, self.shift
        translate, find, context = self._mmu.translate, self._memory.find, self._context
        # Each page is translated once, however many elements are in it.
        frames: dict[int, int] = {}
        found: list[list[memoryview] | None] = []
        local = remote = 0
        for va in vas:
            parts: list[memoryview] = []
            left, bus, whole = size, 0, True
            while left:
                offset = va & low
                length = min(left, self.page - offset)
                vpn = va >> shift
                frame = frames.get(vpn)
                if frame is None:
                    frame = frames[vpn] = translate(context, va - offset, write)
                if frame < 0:
                    whole = False
                else:
                    bus = frame + offset
                    piece, at = find(bus, length)
                    parts.append(piece.view[at : at + length])
                left -= length
                va = (va + length) & MASK64
            if not whole:
                found.append(None)
                continue
            found.append(parts)
            if is_local(bus):
                local += size
            else:
                remote += size
        self._count(local, remote, access)
        missing = sorted(vpn for vpn, frame in frames.items() if frame < 0)
        return found, np.array(missing, dtype=np.uint64)

    # Many elements

    def many(
        self, vas: Addresses, items: Items, access: Access, todo: Indices | None
    ) -> tuple[Indices, Addresses]:
        """Transfer the elements `items` at `vas`, or those of them that `todo` names.

        Returns which are left, and the page numbers, ascending, that are missing.
        """
        size = items.dtype.itemsize
        shift, low = np.uint64(self.shift), np.uint64(self.page - 1)
        at = vas if todo is None else vas[todo]
        first, offset = at >> shift, at & low
        crossing = np.flatnonzero(offset > self.page - size) if size > 1 else _NONE
        second = (first[crossing] + np.uint64(1)) & np.uint64(MASK64 >> self.shift)
        pages, where = distinct_places(np.concatenate((first, second)) if second.size else first)
        frames, good = self._mmu.translate_pages(self._context, pages, access == Access.WRITE)
        bus = frames[where[: at.size]] + offset
        beyond = frames[where[at.size :]]
        if todo is None and good.all():
            self._elements(bus, items, crossing, beyond, access)
            return _NONE, pages[:0]
        ready = good[where[: at.size]]
        ready[crossing] &= good[where[at.size :]]
        numbers = np.arange(vas.size) if todo is None else todo
        chosen = numbers[ready]
        kept = ready[crossing]
        # The crossing elements, numbered among the ready ones.
        crossing = (np.cumsum(ready) - 1)[crossing[kept]]
        part = items[chosen]
        self._elements(bus[ready], part, crossing, beyond[kept], access)
        if access == Access.READ:
            items[chosen] = part
        return numbers[~ready], pages[~good]

    def _elements(
        self, bus: Addresses, items: Items, crossing: Indices, beyond: Addresses, access: Access
    ) -> None:
        """Elements at `bus`; those numbered `crossing` go on at the pages `beyond`."""
        if not bus.size:
            return
        size = items.dtype.itemsize
        local = int(np.count_nonzero(are_local(bus))) * size
        self._count(local, bus.size * size - local, access)
        if not crossing.size:
            self._plain(bus, items, access)
            return
        whole = np.ones(bus.size, dtype=np.bool_)
        whole[crossing] = False
        room = np.uint64(self.page) - (bus[crossing] & np.uint64(self.page - 1))
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

    def _plain(self, bus: Addresses, items: Items, access: Access) -> None:
        if access == Access.READ:
            items[:] = self._memory.gather(bus, items.dtype.itemsize)
        else:
            self._memory.scatter(bus, items)
