"""Where tasks are done: an executor of `concurrent.futures`, and what is particular to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from devmodel.errors import DevmodelError
from devmodel.experiment.sweep.work import Done, Task, Work
from devmodel.machine import host
from devmodel.machine.config import MachineConfig


@dataclass(frozen=True)
class Place:
    """Tasks go to `executor`."""

    executor: Executor
    call: Callable[[Task], Done]
    """what it does with one"""
    width: int
    """tasks at a time"""
    note: str
    """for people"""

    def trouble(self) -> DevmodelError | None:
        """Why no task can end any more, if that is so."""
        return None

    def explained(self, error: Exception) -> DevmodelError | None:
        """The error for a task that was lost on its way; None for a bug."""
        return error if isinstance(error, DevmodelError) else None


class Makes(Protocol):
    """Makes a place for guests of these machines; tasks that run when it is left are ended."""

    def __call__(
        self, machines: Sequence[MachineConfig], work: Work
    ) -> AbstractContextManager[Place]: ...


def local(jobs: int | None) -> Makes:
    """In threads of this process, `jobs` guests at a time: by default, as many as there is room."""

    @contextmanager
    def make(machines: Sequence[MachineConfig], work: Work) -> Iterator[Place]:
        width = jobs or min((host.fitting(machine) for machine in machines), default=1)
        cancelled = threading.Event()

        def call(task: Task) -> Done:
            return work(task, cancelled.is_set)

        with ThreadPoolExecutor(width, "sweep") as pool:
            try:
                guests = "one guest" if width == 1 else f"{width} guests"
                yield Place(pool, call, width, f"{guests} at a time on {os.uname().nodename}")
            finally:
                cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)

    return make
