"""Cells of one machine, one after the other in one guest: what a worker does, wherever it is.

Each cell finds the device like new and a fresh folder, as each run of `devmodel compare` does. A
guest that did not survive a cell is followed by a new one. The guest is gone when the work is: its
processes die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import devmodel
from devmodel.build import guest, kernel
from devmodel.build.config import KernelConfig
from devmodel.errors import ConfigError, DevmodelError, GuestError, LaunchFailed
from devmodel.experiment import compare, corpus, job
from devmodel.experiment.config import Text
from devmodel.experiment.job import JobFailed, Texts
from devmodel.experiment.results import Result
from devmodel.experiment.sweep import identity
from devmodel.experiment.sweep.grid import Cell
from devmodel.experiment.sweep.record import Outcome, Record, Where
from devmodel.experiment.sweep.store import Store
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

LOOK_SECONDS = 0.2

Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Task:
    """Cells of one machine. Travels to other processes."""

    cells: tuple[tuple[str, Cell], ...]
    """each with its key"""
    store: Path
    """where finished cells are kept, if this machine sees that folder"""
    text: KernelConfig | None
    """whose headers are the text for those that want some"""


Done = list[tuple[str, Record]]
Work = Callable[[Task, Cancelled], Done]


class Runs(Protocol):
    """Runs one cell after the other in a guest."""

    def run(self, cell: Cell) -> Record:
        """One. A DevmodelError if no guest can be had; any other trouble is in the record."""


Prepare = Callable[[Task, Cancelled], contextlib.AbstractContextManager[Runs]]


def work(task: Task, cancelled: Cancelled) -> Done:
    """Run the cells that are not finished, in guests; see `run`."""
    return run(task, cancelled, _Guest.prepared)


def run(task: Task, cancelled: Cancelled, prepare: Prepare) -> Done:
    """Run the cells that are not finished; what came of them.

    Once it is `cancelled` the guest ends, and what was not finished by then is left out.
    ConfigError if this machine has other files, or another devmodel, than who asks.
    """
    found: Done = []
    cell = task.cells[0][1]
    # Only where it is there: a folder of that name on another machine would be nobody's.
    store = Store(task.store) if task.store.is_dir() else None
    with contextlib.ExitStack() as stack:
        vm: Runs | None = None
        broken: DevmodelError | None = None
        for key, cell in task.cells:
            if cancelled():
                break
            record = None if store is None else store.get(key)
            if record is None:
                begin, clock = time.time(), time.monotonic()
                try:
                    if broken is not None:
                        raise broken
                    if vm is None:
                        vm = stack.enter_context(prepare(task, cancelled))
                    record = vm.run(cell)
                except DevmodelError as error:
                    # What keeps one cell's guest from starting keeps all others', too.
                    broken = error
                    record = Record.not_started(error)
                if cancelled() and record.outcome is not Outcome.RIGHT:
                    # Whatever it was, it was made to end.
                    break
                record = replace(record, began=begin, seconds=time.monotonic() - clock)
                if store is not None and record.outcome.final:
                    store.put(key, record)
            found.append((key, record))
    return found


class _Guest:
    """The guest of a task, booted when it is needed."""

    def __init__(self, task: Task, texts: Texts, cancelled: Cancelled) -> None:
        self._config = task.cells[0][1].machine
        self._texts = texts
        self._cancelled = cancelled
        self._vm: Machine | None = None

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, task: Task, cancelled: Cancelled) -> Iterator[_Guest]:
        """With all that it takes to boot one; it has ended when this is left."""
        config = task.cells[0][1].machine
        quiet = Reporter(quiet=True)
        built = guest.build(config.kernel, quiet, qemu=config.qemu)
        text = None if task.text is None else kernel.obtain(task.text, quiet)
        key = identity.keys(identity.of_machine(config, built.kernel, built.tools), text)
        for wanted, cell in task.cells:
            if key(cell) != wanted:
                raise ConfigError(
                    f"{platform.node()} has another devmodel, kernel or file than the sweep",
                    hint="have them the same everywhere, and change nothing meanwhile",
                )
        texts = {} if text is None else {Text.KERNEL_HEADERS: corpus.obtain(text, quiet)}
        self = cls(task, texts, cancelled)
        with self._watched():
            try:
                yield self
            finally:
                self._end(None)

    def run(self, cell: Cell) -> Record:
        """See `Runs`."""
        vm = self._vm or self._boot()
        info = vm.info
        where = Where(
            devmodel.__version__, info.kernel, info.qemu, info.accelerator, platform.node()
        )
        blank = Result.blank(cell.point.model, cell.point.workload)
        try:
            record = self._once(vm, cell, blank)
            # What the kernel complains of is this cell's doing.
            vm.check()
        except GuestError as error:
            record = Record.failed(error, blank)
            self._end(error)
        return replace(record, where=where)

    def _once(self, vm: Machine, cell: Cell, blank: Result) -> Record:
        try:
            compare.reset(vm)
            ran = job.run(
                vm, cell.workload, seconds=cell.seconds, texts=self._texts, number=cell.point.run
            )
            return Record.of(ran)
        except JobFailed as error:
            return Record.failed(error, blank)

    def _boot(self) -> Machine:
        vm = self._vm = Machine(self._config)
        try:
            vm.start()
            if vm.run(["test", "-e", compare.DEVICE]).exit_code:
                raise LaunchFailed(compare.refusal(vm))
        except BaseException as error:
            self._end(error)
            raise
        return vm

    def _end(self, cause: BaseException | None) -> None:
        vm, self._vm = self._vm, None
        if vm is not None:
            vm.close(cause)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Ends the guest's QEMU once all is cancelled: then its thread waits for nothing more."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_SECONDS):
                if self._cancelled():
                    vm = self._vm
                    if vm is not None:
                        vm.kill()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
