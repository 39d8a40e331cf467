"""The TLB: page translations that were walked before.

Direct-mapped, in numpy arrays, so that a lookup of one page costs two list-like reads and a
lookup of thousands a few array operations. A 2 MiB leaf is held as entries of single pages, each
marked HUGE: an invalidate that touches any page of the leaf drops them all.

A write needs an entry that says WRITE_OK: writable *and* already DIRTY in the page table. A
first write to a page therefore walks, and only a walk, made now, ever stores to a page table.
An atomic needs ATOMIC_OK, which is WRITE_OK of a page that this device alone reaches.
"""

from __future__ import annotations

import numpy as np

from devmodel.abi.pagetable import LEVEL_BITS, LEVELS
from devmodel.device.memory import Addresses, Mask

VPN_BITS = LEVELS * LEVEL_BITS
MAX_CONTEXT_SLOT = (1 << 16) - 1

# Below the frame, which is at least 4 KiB aligned.
WRITE_OK = 1
HUGE = 2
ATOMIC_OK = 4
FLAGS = 0xFFF

# An invalidate of more pages than this looks at the whole array: it costs the same.
_PROBE_PAGES = 16


class Tlb:
    """`entries` translations, a power of two. Contexts are named by small slots, from 1."""

    def __init__(self, entries: int) -> None:
        self._mask = entries - 1
        self._tags: Addresses = np.zeros(entries, dtype=np.uint64)
        self._values: Addresses = np.zeros(entries, dtype=np.uint64)
        # The same memory again: reading one item of a memoryview is the cheaper of the two.
        self._tag_view = self._tags.data
        self._value_view = self._values.data
        self._any_huge = False

    def get(self, slot: int, vpn: int) -> int:
        """The entry (bus address of the page, ored with flags) or -1."""
        index = (vpn ^ slot) & self._mask
        if self._tag_view[index] == slot << VPN_BITS | vpn:
            return self._value_view[index]
        return -1

    def put(self, slot: int, vpn: int, value: int) -> None:
        """Remember a translation; what was in its place is forgotten."""
        index = (vpn ^ slot) & self._mask
        self._tag_view[index] = slot << VPN_BITS | vpn
        self._value_view[index] = value
        self._any_huge |= bool(value & HUGE)

    def get_many(self, slot: int, vpns: Addresses) -> tuple[Addresses, Mask]:
        """Entries of many pages, and which of them are there."""
        index = (vpns ^ np.uint64(slot)) & np.uint64(self._mask)
        return self._values[index], self._tags[index] == vpns | np.uint64(slot << VPN_BITS)

    def put_many(self, slot: int, vpns: Addresses, values: Addresses) -> None:
        """Remember many translations; of two for one place, the later stays."""
        index = (vpns ^ np.uint64(slot)) & np.uint64(self._mask)
        # Two fancy stores might pick different winners for one place, one of a winner cannot.
        winner = np.zeros(self._tags.size, dtype=np.intp)
        winner[index] = np.arange(index.size)
        chosen = winner[index]
        self._tags[index] = vpns[chosen] | np.uint64(slot << VPN_BITS)
        self._values[index] = values[chosen]
        self._any_huge |= bool((values & np.uint64(HUGE)).any())

    def drop(self, slot: int, first: int, count: int) -> int:
        """Forget the pages `first` to `first + count - 1` of a context; how many there were."""
        if count <= _PROBE_PAGES and not self._any_huge:
            dropped = 0
            for vpn in range(first, first + count):
                index = (vpn ^ slot) & self._mask
                if self._tag_view[index] == slot << VPN_BITS | vpn:
                    self._tag_view[index] = 0
                    dropped += 1
            return dropped
        low, high = _tags(slot, first, first + count)
        gone = (self._tags >= low) & (self._tags < high)
        if self._any_huge:
            ones = (1 << LEVEL_BITS) - 1
            low, high = _tags(slot, first & ~ones, (first + count + ones) & ~ones)
            huge = (self._values & np.uint64(HUGE)) != 0
            gone |= (self._tags >= low) & (self._tags < high) & huge
        return self._forget(gone)

    def drop_context(self, slot: int) -> int:
        """Forget every page of a context; how many there were."""
        return self._forget(self._tags >> np.uint64(VPN_BITS) == slot)

    def clear(self) -> None:
        """Forget everything."""
        self._tags[:] = 0
        self._any_huge = False

    def _forget(self, gone: Mask) -> int:
        self._tags[gone] = 0
        return int(np.count_nonzero(gone))


def _tags(slot: int, first: int, end: int) -> tuple[np.uint64, np.uint64]:
    base = slot << VPN_BITS
    return np.uint64(base + first), np.uint64(base + min(end, 1 << VPN_BITS))
