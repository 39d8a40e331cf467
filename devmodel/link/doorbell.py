"""Doorbells: eventfds, which ivshmem turns into MSI-X on the guest's side.

Correctness never rests on a doorbell: each side looks again after a timeout.
"""

import contextlib
import os
import select
from collections.abc import Sequence


def create(count: int) -> list[int]:
    """`count` new eventfds, non-blocking so that neither side can stall the other."""
    return [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(count)]


def ring(fd: int) -> None:
    """Signal `fd`. A doorbell that is still pending stays so: ringing never blocks or fails."""
    # Blocking would mean that the counter is full, so the other side has one to see anyway.
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(fd, 1)


class Waiter:
    """Waits on several doorbells, and on a wake-up descriptor, with a limit."""

    def __init__(self, fds: Sequence[int], wake: int | None = None) -> None:
        self._poll = select.poll()
        self._fds = frozenset(fds)
        for fd in [*fds, *([] if wake is None else [wake])]:
            self._poll.register(fd, select.POLLIN)

    def wait(self, milliseconds: int) -> bool:
        """Whether a doorbell rang within the limit; those that did are silent again."""
        rang = False
        for fd, _ in self._poll.poll(milliseconds):
            if fd in self._fds:
                rang = True
                # Somebody else may take it between poll and read.
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
        return rang
