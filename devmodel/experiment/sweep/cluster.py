"""A cluster's workers: those of a Dask scheduler, through `Client.get_executor()`.

A worker that dies takes its guest with it, whose processes die with the thread that started them;
the scheduler then gives its task to another, which finds in the store what was finished, if both
see one folder. A sweep that is gone, however that came, is noticed by its tasks: the scheduler
has taken them from the worker's list.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from devmodel.errors import ConfigError, DevmodelError, HostNotReady
from devmodel.experiment.sweep.place import Makes, Place
from devmodel.experiment.sweep.work import Done, Task, Work
from devmodel.machine.config import MachineConfig

# It has no types.
Client = Any

CONNECT_SECONDS = 15
WORKER_SECONDS = 60.0
GONE_SECONDS = 60.0
CLOSE_SECONDS = 5


@dataclass(frozen=True)
class _Cluster(Place):
    client: Client = field(kw_only=True)
    alone: list[float] = field(default_factory=list, kw_only=True)
    """since when there is no worker"""

    def trouble(self) -> DevmodelError | None:
        if self.client.status not in ("running", "connecting"):
            return HostNotReady("the scheduler is gone", hint="start it, and the sweep again")
        if self._workers():
            self.alone.clear()
        elif not self.alone:
            self.alone.append(time.monotonic())
        elif time.monotonic() - self.alone[0] > GONE_SECONDS:
            return _no_worker(GONE_SECONDS)
        return None

    def _workers(self) -> bool:
        try:
            return self.client.status == "running" and bool(self.client.nthreads())
        except (OSError, TimeoutError):
            return False

    def explained(self, error: Exception) -> DevmodelError | None:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return HostNotReady("its worker died, time and again", hint="see the workers' logs")
        if isinstance(error, CancelledError):
            return HostNotReady("the scheduler has dropped it", hint="start the sweep again")
        return super().explained(error)


def cluster(address: str) -> Makes:
    """The workers of the scheduler at `address`, a task at a time for each of their threads.

    HostNotReady without Dask, ConfigError if nobody answers there.
    """

    @contextmanager
    def make(machines: Sequence[MachineConfig], work: Work) -> Iterator[Place]:
        del machines
        client = _connect(address)
        executor = client.get_executor(pure=False)
        try:
            try:
                client.wait_for_workers(1, timeout=WORKER_SECONDS)
            except TimeoutError:
                raise _no_worker(WORKER_SECONDS) from None
            width = sum(client.nthreads().values())
            note = f"{width} guests at a time on the workers of {address}"
            yield _Cluster(executor, functools.partial(_call, work), width, note, client=client)
        finally:
            executor.shutdown(wait=False)
            client.close(timeout=CLOSE_SECONDS)

    return make


def _connect(address: str) -> Client:
    try:
        import distributed
    except ImportError:
        raise HostNotReady(
            "--scheduler needs Dask, which is not installed", hint="pip install 'devmodel[dask]'"
        ) from None
    # A connection that is lost is told once, by what it means.
    for name in [
        name for name in logging.root.manager.loggerDict if name.startswith("distributed")
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return distributed.Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_SECONDS, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {address}: {_first_line(error) or 'nobody answers'}",
            hint="write it as tcp://HOST:8786, as dask scheduler shows it",
        ) from error


def _no_worker(seconds: float) -> HostNotReady:
    return HostNotReady(
        f"the scheduler has had no worker for {seconds:.0f} s",
        hint="start some: dask worker --nthreads 1 ADDRESS",
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def _call(work: Work, task: Task) -> Done:
    """In the worker."""
    return work(task, _abandoned())


def _abandoned() -> Callable[[], bool]:
    """Whether nobody waits for the task of this thread any more. For any thread to ask."""
    from distributed import get_worker

    worker: Any = get_worker()
    task = worker.get_current_task()

    def asked() -> bool:
        state = worker.state.tasks.get(task)
        return state is None or state.state != "executing"

    return asked
