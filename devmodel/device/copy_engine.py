"""The DMA engine: lists of frames to copy or fill, in order, in bounded bursts.

Works on bus addresses: translation is the driver's, which moves pages that nothing maps. An
entry that cannot be done gets a status of its own and the list goes on. An entry is copied out of
guest RAM once, before it is looked at, and stays what it was then over all the bursts that it
takes: a guest that changes it meanwhile changes nothing.

Whole pages, which is what migrations move, go many at a time; anything else goes entry by
entry. Both keep the order of the list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.rings import Completion, CopyCommand, CopyEntry, CopyOp, Engine, Status
from devmodel.device.memory import Addresses, BadAddress, Mask, Memory, are_local, is_local
from devmodel.device.trace import Trace

ENTRY = np.dtype([("src", "<u8"), ("dst", "<u8"), ("length", "<u4"), ("status", "<u4")])
assert ENTRY.itemsize == CopyEntry.SIZE

# What an entry by itself costs at least, in bytes that could be moved in that time.
_ENTRY_COST = 16384
# Below this many whole pages the set-up of a batch costs more than it saves.
_BATCH_PAGES = 8

Entries = NDArray[np.void]


@dataclass
class _Job:
    """A list that is being worked on: `index` is the next entry, `done` its bytes done so far.

    `begun` is that entry as it was when it was begun, if `done` is not 0.
    """

    command: CopyCommand
    entries: Entries
    index: int = 0
    done: int = 0
    begun: np.void | None = None
    failed: int = 0


class CopyEngine:
    """Does one list at a time. `page_size` and `burst_bytes` in bytes."""

    def __init__(
        self, memory: Memory, counters: DeviceCounters, page_size: int, burst_bytes: int
    ) -> None:
        self._memory = memory
        self._counters = counters
        self._page = page_size
        self._burst = burst_bytes
        self._job: _Job | None = None
        self.trace: Trace | None = None

    @property
    def busy(self) -> bool:
        """Whether a list is being worked on."""
        return self._job is not None

    def reset(self) -> None:
        """Drop the list that is being worked on."""
        self._job = None

    def start(self, command: CopyCommand) -> Completion | None:
        """Take a command; a completion at once if it is refused. The engine must not be busy."""
        if command.opcode not in (CopyOp.COPY, CopyOp.FILL):
            return self._refuse(command, Status.BAD_COMMAND)
        try:
            span = self._memory.span(command.list, command.count * CopyEntry.SIZE)
        except BadAddress:
            return self._refuse(command, Status.BAD_ADDRESS)
        self._job = _Job(command, np.ndarray((command.count,), ENTRY, span))
        return None

    def _refuse(self, command: CopyCommand, status: Status) -> Completion:
        self._counters.errors += 1
        return Completion(
            cookie=command.cookie, engine=Engine.COPY, status=status, result=(command.count, 0)
        )

    def step(self) -> Completion | None:
        """Work for one burst; the completion if that ended the list."""
        job = self._job
        if job is None:
            return None
        budget = self._burst
        while job.index < job.entries.size and budget > 0:
            budget -= self._do_batch(job, budget)
        if job.index < job.entries.size:
            return None
        self._job = None
        self._memory.written(job.entries["dst"], job.entries["length"].astype("<u8"))
        status = Status.BAD_ADDRESS if job.failed else Status.OK
        return Completion(
            cookie=job.command.cookie, engine=Engine.COPY, status=status, result=(job.failed, 0)
        )

    def _do_batch(self, job: _Job, budget: int) -> int:
        """Do the next entries, of about `budget` bytes together; what they cost."""
        window = 1 + budget // self._page
        batch = np.array(job.entries[job.index : job.index + window])
        if job.begun is not None:
            batch[0] = job.begun
        page_like = self._whole_pages(batch)
        position = cost = 0
        while position < batch.size and cost < budget:
            run = 0 if job.done else _leading(page_like[position:])
            if run >= _BATCH_PAGES and self._do_pages(job, batch[position : position + run]):
                position += run
                cost += run * self._page
                continue
            for entry in batch[position : position + max(run, 1)]:
                cost += max(self._do_entry(job, entry, budget - cost), _ENTRY_COST)
                if job.done or cost >= budget:
                    return cost
                position += 1
        return cost

    def _whole_pages(self, batch: Entries) -> Mask:
        """Per entry: whether it is one aligned page."""
        where = batch["dst"] | batch["src"] if self._copies() else batch["dst"]
        pages: Mask = (batch["length"] == self._page) & (where & np.uint64(self._page - 1) == 0)
        return pages

    def _copies(self) -> bool:
        return self._job is not None and self._job.command.opcode == CopyOp.COPY

    def _do_pages(self, job: _Job, batch: Entries) -> bool:
        """Do a batch of whole pages at once. False, and nothing done, if that is not possible."""
        dst: Addresses = batch["dst"]
        try:
            if self._copies():
                src: Addresses = batch["src"]
                if _meet(src, dst):
                    return False
                pages = self._memory.gather(src, self._page)
            else:
                src = dst
                words = np.full((batch.size, self._page // 8), job.command.pattern, "<u8")
                pages = words.view(f"V{self._page}")[:, 0]
            self._memory.scatter(dst, pages)
        except BadAddress:
            return False
        to_hbm, from_hbm = are_local(dst), are_local(src)
        inward = int(np.count_nonzero(to_hbm & ~from_hbm)) * self._page
        outward = int(np.count_nonzero(from_hbm & ~to_hbm)) * self._page
        self._counters.copy_bytes_to_device += inward
        self._counters.copy_bytes_to_system += outward
        self._counters.copy_bytes_local += batch.size * self._page - inward - outward
        if self.trace is not None:
            places = self._memory.places
            self.trace.copied(places(src) if self._copies() else None, places(dst))
        job.entries["status"][job.index : job.index + batch.size] = Status.OK
        job.index += int(batch.size)
        return True

    def _do_entry(self, job: _Job, entry: np.void, budget: int) -> int:
        """Do one entry, or the next `budget` bytes of it; how many bytes that were."""
        src, dst, length, _ = (int(x) for x in entry.item())
        amount = 0
        try:
            status = self._check(src, dst, length)
            if status == Status.OK:
                amount = min(length - job.done, max(budget, 8) & ~7)
                self._move(src + job.done, dst + job.done, amount, job.command.pattern)
                job.done += amount
        except BadAddress:
            failed = self._memory.has_failed(dst, length) or (
                self._copies() and self._memory.has_failed(src, length)
            )
            status = Status.POISONED if failed else Status.BAD_ADDRESS
        if status == Status.OK and job.done < length:
            job.begun = entry
            return amount
        job.failed += status != Status.OK
        if self.trace is not None and status == Status.OK and length:
            place = self._memory.place
            self.trace.copied_bytes(place(src) if self._copies() else None, place(dst), length)
        job.entries["status"][job.index] = status
        job.index += 1
        job.done = 0
        job.begun = None
        return amount

    def _check(self, src: int, dst: int, length: int) -> Status:
        """Whether the whole entry can be done; `BadAddress` if it leaves the memory."""
        if length % 8:
            return Status.BAD_ARGUMENT
        self._memory.find(dst, length)
        if self._copies():
            self._memory.find(src, length)
            # A burst may end anywhere within it, so an overlap has no one right outcome.
            if length and src < dst + length and dst < src + length:
                return Status.BAD_ARGUMENT
        return Status.OK

    def _move(self, src: int, dst: int, length: int, pattern: int) -> None:
        target = self._memory.span(dst, length)
        if self._copies():
            target[:] = self._memory.span(src, length)
            self._count(src, dst, length)
        else:
            target.view("<u8")[:] = pattern
            self._count(dst, dst, length)

    def _count(self, src: int, dst: int, length: int) -> None:
        if is_local(src) == is_local(dst):
            self._counters.copy_bytes_local += length
        elif is_local(dst):
            self._counters.copy_bytes_to_device += length
        else:
            self._counters.copy_bytes_to_system += length


def _meet(src: Addresses, dst: Addresses) -> bool:
    """Whether one entry may read what another writes: then only one after the other is right."""
    if src.max() < dst.min() or dst.max() < src.min():
        return False
    return bool(np.intersect1d(src, dst).size)


def _leading(mask: Mask) -> int:
    """How many elements at the start are true."""
    return int(mask.size if mask.all() else np.argmin(mask))
