"""The device's MMU: contexts, the page-table walker, and the TLB in front of it.

Tables belong to the driver and may be anything at all: entries are read once, every address is
checked, and a walk takes at most four steps. What cannot be walked is a fault, never an error.
The walker sets ACCESSED and DIRTY by one-byte stores to the device's byte of the entry
(docs/adr/0002-device-owned-pte-byte.md), before the access that they speak of.

An address is translated and used without anything in between, so an invalidate, which is served
between such accesses, never meets one in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.pagetable import (
    AGE_PAGES,
    ENTRY_BYTES,
    LEVEL_BITS,
    LEVELS,
    PTE_ACCESSED,
    PTE_ADDRESS,
    PTE_APERTURE,
    PTE_ATOMIC,
    PTE_DEVICE_BYTE,
    PTE_DIRTY,
    PTE_LEAF,
    PTE_VALID,
    PTE_WRITE,
)
from devmodel.device.faults import EveryNth
from devmodel.device.memory import Addresses, BadAddress, Mask, Memory
from devmodel.device.tlb import (
    ATOMIC_OK,
    FLAGS,
    HUGE,
    MAX_CONTEXT_SLOT,
    VPN_BITS,
    WRITE_OK,
    Tlb,
)
from devmodel.device.trace import Trace

NO_TRANSLATION = -1

# From here on numpy is cheaper: measured, for hits from 16 pages on, for walks from 32.
MANY = 24

_DEVICE_SHIFT = 8 * PTE_DEVICE_BYTE
_ACCESSED = PTE_ACCESSED >> _DEVICE_SHIFT
_DIRTY = PTE_DIRTY >> _DEVICE_SHIFT
_INDEX = (1 << LEVEL_BITS) - 1
_ENTRY_SHIFT = ENTRY_BYTES.bit_length() - 1
_TABLE_BYTES = ENTRY_BYTES << LEVEL_BITS


@dataclass(frozen=True)
class Context:
    """An address space: its id (PASID), the bus address of its top table, its TLB slot."""

    ctx: int
    root: int
    slot: int
    counters: ContextCounters


class Mmu:
    """Translates device virtual addresses of any context to bus addresses.

    `page_shift` is log2 of the page size; tables are 4 KiB whatever it is. Counts TLB hits and
    misses and walks that faulted in `counters`: one for each page that it is asked for, which
    `Port` does once for each distinct page of an access.
    """

    def __init__(
        self, memory: Memory, counters: DeviceCounters, page_shift: int, tlb_entries: int
    ) -> None:
        self._memory = memory
        self._counters = counters
        self._tlb = Tlb(tlb_entries)
        self._contexts: dict[int, Context] = {}
        self._free_slots: list[int] = []
        self.trace: Trace | None = None
        self.lost_dirty: EveryNth | None = None
        self.page_shift = page_shift
        self.page_size = 1 << page_shift
        self._frame = (PTE_ADDRESS | PTE_APERTURE) & ~(self.page_size - 1)
        self._huge_frame = self._frame & ~((self.page_size << LEVEL_BITS) - 1)

    # Contexts

    def context(self, ctx: int) -> Context | None:
        """The context of that id, if there is one."""
        return self._contexts.get(ctx)

    def create(self, ctx: int, root: int) -> Context | None:
        """A new context whose top table is at `root`; None if the id or all slots are taken.

        `BadAddress` if no table can be at `root`.
        """
        if root & ~PTE_ADDRESS or not self._memory.holds(root, _TABLE_BYTES):
            raise BadAddress(f"page table at {root:#x}")
        if ctx in self._contexts or len(self._contexts) >= MAX_CONTEXT_SLOT:
            return None
        slot = self._free_slots.pop() if self._free_slots else len(self._contexts) + 1
        self._contexts[ctx] = Context(ctx, root, slot, ContextCounters(ctx=ctx))
        return self._contexts[ctx]

    def destroy(self, ctx: int) -> bool:
        """Forget a context and its translations; whether it was there."""
        context = self._contexts.pop(ctx, None)
        if context is None:
            return False
        self._counters.tlb_dropped += self._tlb.drop_context(context.slot)
        self._free_slots.append(context.slot)
        return True

    def reset(self) -> None:
        """Forget all contexts and translations."""
        self._contexts.clear()
        self._free_slots.clear()
        self._tlb.clear()

    def are_pages(self, va: int, length: int) -> bool:
        """Whether a range is made of pages, one at least."""
        return length > 0 and not (va | length) & (self.page_size - 1)

    def invalidate(self, ctx: int, va: int, length: int) -> bool:
        """Forget the translations of a range. False if it is not made of pages, or no context's."""
        context = self._contexts.get(ctx)
        if context is None or not self.are_pages(va, length):
            return False
        first, count = va >> self.page_shift, length >> self.page_shift
        count = min(count, (1 << VPN_BITS) - first)
        if count > 0:
            self._counters.tlb_dropped += self._tlb.drop(context.slot, first, count)
        return True

    def age(self, ctx: int, va: int, length: int) -> bool:
        """Clear ACCESSED in the entries of a range, so that what is accessed from now on shows.

        As ACCESSED is set by walks alone, the range's translations are forgotten too. False if
        the range is not made of pages, is longer than AGE_PAGES, or is no context's.
        """
        if length > AGE_PAGES << self.page_shift or not self.invalidate(ctx, va, length):
            return False
        first, count = va >> self.page_shift, length >> self.page_shift
        vpns = np.arange(first, min(first + count, 1 << VPN_BITS), dtype=np.uint64)
        entry, address, _, good = self._find_leaves(self._contexts[ctx].root, vpns)
        old = good & ((entry & np.uint64(PTE_ACCESSED)) != 0)
        if old.any():
            self._memory.clear_bytes(address[old] + np.uint64(PTE_DEVICE_BYTE), _ACCESSED)
        return True

    # Translation

    def translate(self, context: Context, va: int, write: bool, atomic: bool = False) -> int:
        """The bus address of one byte, or NO_TRANSLATION. An atomic access writes, too."""
        vpn = va >> self.page_shift
        # A number too large for a tag would look like another context's page.
        value = NO_TRANSLATION if vpn >> VPN_BITS else self._tlb.get(context.slot, vpn)
        if value >= 0 and (value & WRITE_OK or not write) and (value & ATOMIC_OK or not atomic):
            self._counters.tlb_hits += 1
            if self.trace is not None:
                place = self._memory.place(value & ~FLAGS)
                self.trace.access(context.ctx, vpn, place, write, atomic, False)
            return (value & ~FLAGS) + (va & (self.page_size - 1))
        self._counters.tlb_misses += 1
        value = self._walk(context.root, vpn, write, atomic)
        if value < 0:
            self._counters.walks_faulted += 1
            return NO_TRANSLATION
        self._tlb.put(context.slot, vpn, value)
        if self.trace is not None:
            place = self._memory.place(value & ~FLAGS)
            self.trace.access(context.ctx, vpn, place, write, atomic, True)
        return (value & ~FLAGS) + (va & (self.page_size - 1))

    def translate_pages(
        self, context: Context, vpns: Addresses, write: bool
    ) -> tuple[Addresses, Mask]:
        """Bus addresses of distinct pages, given by page number, and which have a translation."""
        if vpns.size < MANY:
            found = [self.translate(context, v << self.page_shift, write) for v in vpns.tolist()]
            good = np.array([bus >= 0 for bus in found], dtype=np.bool_)
            return np.array([max(bus, 0) for bus in found], dtype=np.uint64), good
        values, good = self._tlb.get_many(context.slot, vpns)
        good &= vpns >> np.uint64(VPN_BITS) == 0
        if write:
            good &= (values & np.uint64(WRITE_OK)) != 0
        missed = np.flatnonzero(~good)
        self._counters.tlb_hits += int(vpns.size - missed.size)
        if missed.size:
            self._counters.tlb_misses += int(missed.size)
            walked, walked_good = self._walk_many(context.root, vpns[missed], write)
            self._counters.walks_faulted += int(missed.size - np.count_nonzero(walked_good))
            values[missed] = walked
            good[missed] = walked_good
            fresh = missed[walked_good]
            if fresh.size:
                self._tlb.put_many(context.slot, vpns[fresh], values[fresh])
        frames = values & np.uint64(~FLAGS & (1 << 64) - 1)
        if self.trace is not None:
            by_walk: Mask = np.zeros(vpns.size, dtype=np.bool_)
            by_walk[missed] = True
            places = self._memory.places(frames[good])
            self.trace.accesses(context.ctx, vpns[good], places, write, by_walk[good])
        return frames, good

    def find_failed(self, context: Context, vpns: Addresses) -> tuple[int, int] | None:
        """Of pages without a translation, one that has an entry, for a page that failed.

        Its address and its bus address; None if there is no such page.
        """
        if not self._memory.failed:
            return None
        entry, _, huge, good = self._find_leaves(context.root, vpns)
        within = np.where(huge, vpns & np.uint64(_INDEX), np.uint64(0)) << np.uint64(
            self.page_shift
        )
        frames = np.where(huge, entry & np.uint64(self._huge_frame), entry & np.uint64(self._frame))
        for vpn, bus in zip(vpns[good].tolist(), (frames + within)[good].tolist(), strict=True):
            if self._memory.has_failed(bus, self.page_size):
                return vpn << self.page_shift, bus
        return None

    # The walker

    def _walk(self, root: int, vpn: int, write: bool, atomic: bool) -> int:
        """The TLB entry for a page, or NO_TRANSLATION."""
        if vpn >> VPN_BITS:
            return NO_TRANSLATION
        table = root
        for level in range(LEVELS - 1, -1, -1):
            index = (vpn >> level * LEVEL_BITS) & _INDEX
            address = table + index * ENTRY_BYTES
            try:
                entry = self._memory.read_word(address)
            except BadAddress:
                return NO_TRANSLATION
            if not entry & PTE_VALID:
                return NO_TRANSLATION
            if level == 0 or entry & PTE_LEAF:
                if atomic and not entry & PTE_ATOMIC:
                    return NO_TRANSLATION
                return self._leaf(entry, address, level, vpn, write)
            if entry & PTE_APERTURE:
                # Tables lie in guest RAM.
                return NO_TRANSLATION
            table = entry & PTE_ADDRESS
        raise AssertionError("a walk ends at level 0")

    def _leaf(self, entry: int, address: int, level: int, vpn: int, write: bool) -> int:
        if level > 1 or (write and not entry & PTE_WRITE):
            return NO_TRANSLATION
        if level:
            frame = (entry & self._huge_frame) + ((vpn & _INDEX) << self.page_shift) | HUGE
        else:
            frame = entry & self._frame
        if not self._memory.holds(frame & ~FLAGS, self.page_size):
            return NO_TRANSLATION
        bits = _ACCESSED | _DIRTY if write else _ACCESSED
        old = entry >> _DEVICE_SHIFT
        stored = bits
        if self.lost_dirty is not None and bits & ~old & _DIRTY and self.lost_dirty.one():
            stored = _ACCESSED
        if old & stored != stored:
            self._memory.write(address + PTE_DEVICE_BYTE, bytes([old | stored]))
        if entry & PTE_WRITE and (old | bits) & _DIRTY:
            frame |= WRITE_OK | ATOMIC_OK if entry & PTE_ATOMIC else WRITE_OK
        return frame

    def _walk_many(self, root: int, vpns: Addresses, write: bool) -> tuple[Addresses, Mask]:
        """As `_walk`, for many pages."""
        return self._leaves(vpns, *self._find_leaves(root, vpns), write)

    def _find_leaves(self, root: int, vpns: Addresses) -> tuple[Addresses, Addresses, Mask, Mask]:
        """The leaf entries of pages, level by level: entry, its address, if huge, if there."""
        alive = vpns >> np.uint64(VPN_BITS) == 0
        table = np.full(vpns.shape, root, dtype=np.uint64)
        leaf_entry = np.zeros(vpns.shape, dtype=np.uint64)
        leaf_address = np.zeros(vpns.shape, dtype=np.uint64)
        huge = np.zeros(vpns.shape, dtype=np.bool_)
        walking = np.flatnonzero(alive)
        alive[:] = False
        for level in range(LEVELS - 1, -1, -1):
            index = (vpns[walking] >> np.uint64(level * LEVEL_BITS)) & np.uint64(_INDEX)
            address = table[walking] + (index << np.uint64(_ENTRY_SHIFT))
            entry, good = self._memory.gather_words(address)
            good &= (entry & np.uint64(PTE_VALID)) != 0
            is_leaf = good & ((entry & np.uint64(PTE_LEAF)) != 0) if level else good
            if level <= 1:
                ends = walking[is_leaf]
                leaf_entry[ends] = entry[is_leaf]
                leaf_address[ends] = address[is_leaf]
                huge[ends] = level == 1
                alive[ends] = True
            onward = good & ~is_leaf & ((entry & np.uint64(PTE_APERTURE)) == 0)
            table[walking[onward]] = entry[onward] & np.uint64(PTE_ADDRESS)
            walking = walking[onward]
            if not walking.size:
                break
        return leaf_entry, leaf_address, huge, alive

    def _leaves(
        self,
        vpns: Addresses,
        entry: Addresses,
        address: Addresses,
        huge: Mask,
        good: Mask,
        write: bool,
    ) -> tuple[Addresses, Mask]:
        writable = (entry & np.uint64(PTE_WRITE)) != 0
        if write:
            good &= writable
        frame = entry & np.uint64(self._frame)
        if huge.any():
            within = (vpns & np.uint64(_INDEX)) << np.uint64(self.page_shift)
            frame = np.where(huge, (entry & np.uint64(self._huge_frame)) + within, frame)
        good &= self._memory.contains(frame, self.page_size)
        bits = PTE_ACCESSED | PTE_DIRTY if write else PTE_ACCESSED
        lacking = good & ((entry & np.uint64(bits)) != bits)
        if self.lost_dirty is not None and write:
            fresh = np.flatnonzero(lacking & ((entry & np.uint64(PTE_DIRTY)) == 0))
            lacking[fresh[self.lost_dirty.many(fresh.size)]] = False
        if lacking.any():
            self._memory.or_bytes(
                address[lacking] + np.uint64(PTE_DEVICE_BYTE), bits >> _DEVICE_SHIFT
            )
        write_ok = writable & (((entry | np.uint64(bits)) & np.uint64(PTE_DIRTY)) != 0)
        atomic_ok = write_ok & ((entry & np.uint64(PTE_ATOMIC)) != 0)
        flags = write_ok * np.uint64(WRITE_OK) | huge * np.uint64(HUGE)
        flags |= atomic_ok * np.uint64(ATOMIC_OK)
        return frame | flags.astype(np.uint64), good
