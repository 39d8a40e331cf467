"""`devmodel sweep`: run what is missing of a grid, and write its table."""

from __future__ import annotations

import contextlib
import functools
import json as jsonlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from devmodel.build import guest, kernel
from devmodel.build.config import KernelConfig
from devmodel.build.guest import Built
from devmodel.errors import DevmodelError
from devmodel.experiment.config import Experiment
from devmodel.experiment.sweep import grid, identity, settle, store, table, work
from devmodel.experiment.sweep.grid import Cell
from devmodel.experiment.sweep.identity import Keys
from devmodel.experiment.sweep.place import Makes, Place
from devmodel.experiment.sweep.record import Record
from devmodel.experiment.sweep.store import Store
from devmodel.experiment.sweep.table import Row
from devmodel.experiment.sweep.work import Done, Task, Work
from devmodel.machine.config import MachineConfig
from devmodel.progress import Reporter, Step

LOOK_SECONDS = 0.3
# What is lost at most with a worker that does not see the store.
MOST_OF_A_TASK = 32

Identities = Mapping[MachineConfig, str | DevmodelError | None]
Identify = Callable[[Sequence[MachineConfig], Reporter], Identities]


def identify(machines: Sequence[MachineConfig], reporter: Reporter) -> Identities:
    """What goes into the keys of each machine's cells; or why there can be no such machine.

    What is missing of kernels and the like is fetched and built, here and now.
    """

    @functools.cache
    def built(kernel: KernelConfig, qemu: str) -> Built | DevmodelError:
        try:
            return guest.build(kernel, reporter, qemu=qemu)
        except DevmodelError as error:
            return error

    found: dict[MachineConfig, str | DevmodelError | None] = {}
    for machine in machines:
        there = built(machine.kernel, machine.qemu)
        if isinstance(there, Built):
            found[machine] = identity.of_machine(machine, there.kernel, there.tools)
        else:
            found[machine] = there
    return found


def recognize(machines: Sequence[MachineConfig], reporter: Reporter) -> Identities:
    """The same, but nothing is built: None for a machine that something of is not here yet."""
    del reporter
    found: dict[MachineConfig, str | DevmodelError | None] = {}
    for machine in machines:
        # Without a compiler, say: then nothing of it can be done.
        with contextlib.suppress(DevmodelError):
            found[machine] = identity.find(machine)
    return found


@dataclass
class Sweep:
    """All cells of an experiment, and what came of them as far as it is known."""

    experiment: Experiment
    cells: list[Cell]
    keys: list[str]
    """of each cell; empty where its machine cannot be, or is not here yet"""
    store: Store
    text: KernelConfig | None
    records: dict[int, Record] = field(default_factory=dict)
    """by the cell's number"""

    @classmethod
    def planned(
        cls, experiment: Experiment, where: Store, ask: Identify, reporter: Reporter
    ) -> Sweep:
        """With what is finished already. ConfigError if the grid cannot be."""
        cells = grid.cells(experiment)
        machines = list(dict.fromkeys(cell.machine for cell in cells))
        wants_text = any(file.text for item in experiment.workloads for file in item.put)
        known = ask(machines, reporter)
        sound = [machine for machine in machines if isinstance(known.get(machine), str)]
        text = next((machine.kernel for machine in sound), None) if wants_text else None
        booted = None if text is None else kernel.obtain(text, Reporter(quiet=True))
        makers: dict[MachineConfig, Keys] = {
            machine: identity.keys(str(known[machine]), booted) for machine in sound
        }
        keys = [makers[cell.machine](cell) if cell.machine in makers else "" for cell in cells]
        self = cls(experiment, cells, keys, where, text)
        for number, cell in enumerate(cells):
            if isinstance(error := known.get(cell.machine), DevmodelError):
                self.records[number] = Record.not_started(error)
        self.look(range(len(cells)))
        return self

    def look(self, numbers: Iterable[int]) -> list[int]:
        """Take from the store what has been finished of these cells; which were."""
        there = self.store.finished()
        found = []
        for number in numbers:
            if number not in self.records and self.keys[number] in there:
                record = self.store.get(self.keys[number])
                if record is not None:
                    self.records[number] = record
                    found.append(number)
        return found

    @property
    def missing(self) -> list[int]:
        """The cells that nothing is known of."""
        return [number for number in range(len(self.cells)) if number not in self.records]

    def pieces(self, width: int) -> list[list[int]]:
        """The missing cells, in pieces of one machine's that `width` workers have enough of."""
        groups = [
            list(group) for _, group in groupby(self.missing, key=lambda n: self.cells[n].machine)
        ]
        pieces = -(-width // max(len(groups), 1))
        return [piece for group in groups for piece in _pieces(group, pieces)]

    def task(self, numbers: Iterable[int]) -> Task:
        """Those cells."""
        cells = tuple((self.keys[number], self.cells[number]) for number in numbers)
        return Task(cells, self.store.path, self.text)

    def rows(self) -> list[Row]:
        """Of all cells that ended, in the grid's order, compared with each other."""
        found = [
            Row(cell.point, key, self.records[number])
            for number, (cell, key) in enumerate(zip(self.cells, self.keys, strict=True))
            if number in self.records
        ]
        expects = {item.title: item.expect for item in self.experiment.workloads}
        return settle.settled(found, expects)


def _pieces(group: list[int], count: int) -> Iterator[list[int]]:
    size = min(-(-len(group) // count), MOST_OF_A_TASK)
    for start in range(0, len(group), size):
        yield group[start : start + size]


class _Progress:
    """What people see of each cell that ended."""

    def __init__(self, sweep: Sweep, reporter: Reporter, step: Step, total: int) -> None:
        self._sweep = sweep
        self._reporter = reporter
        self._step = step
        self._total = total
        self._done = 0

    def came(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._done += 1
            self._step.advance()
            record = self._sweep.records[number]
            # A bar says enough of those that are right.
            if record.code or not self._reporter.console.is_terminal:
                self._reporter.note(
                    f"{self._done}/{self._total} {self._sweep.cells[number].point}: "
                    f"{record.outcome}, {record.seconds:.1f} s"
                )


def _run(sweep: Sweep, place: Place, reporter: Reporter) -> DevmodelError | None:
    """Have the missing cells run; why that ended early, if it did. KeyboardInterrupt too."""
    total = len(sweep.missing)
    with reporter.step("sweep", total) as step:
        progress = _Progress(sweep, reporter, step, total)
        waiting: dict[Future[Done], list[int]] = {
            place.executor.submit(place.call, sweep.task(piece)): piece
            for piece in sweep.pieces(place.width)
        }
        while waiting:
            done, _ = wait(waiting, LOOK_SECONDS, return_when=FIRST_COMPLETED)
            # Whoever sees the store has put finished cells there long before its task is done.
            progress.came(sweep.look(n for cells in waiting.values() for n in cells))
            for future in done:
                progress.came(_taken(sweep, place, future, waiting.pop(future)))
            if waiting and (trouble := place.trouble()) is not None:
                return trouble
    return None


def _taken(sweep: Sweep, place: Place, future: Future[Done], numbers: list[int]) -> list[int]:
    """What a task gave back, of those cells that are not known yet."""
    try:
        came = dict(future.result())
    except BaseException as error:
        explained = place.explained(error) if isinstance(error, Exception) else None
        if explained is None:
            raise
        came = {sweep.keys[number]: Record.not_started(explained) for number in numbers}
    new = [n for n in numbers if n not in sweep.records and sweep.keys[n] in came]
    for number in new:
        key = sweep.keys[number]
        sweep.records[number] = came[key]
        if came[key].outcome.final and sweep.store.get(key) is None:
            sweep.store.put(key, came[key])
    return new


def run(
    experiment: Experiment,
    place: Makes,
    console: Console,
    *,
    out: Path,
    json: bool = False,
    again: str = "",
    work: Work = work.work,
    ask: Identify = identify,
) -> int:
    """Run what is missing, write the table to `out`, tell what is wrong.

    `again` is "failed" or "all" for cells that are to be run though they are finished. 0 if every
    cell is right; else 1, or the exit code of what kept a cell from being run. An interrupt passes
    through, once all that was finished is in the table. ConfigError for a grid or a place that
    cannot be.
    """
    if not out.parent.is_dir():
        raise table.unwritable(out, f"no folder {out.parent}")
    if out.is_dir():
        raise table.unwritable(out, "is a folder")
    reporter = Reporter(console)
    where = Store(store.folder())
    sweep = Sweep.planned(experiment, where, ask, reporter)
    for number, record in list(sweep.records.items()):
        if sweep.keys[number] and (again == "all" or (again == "failed" and record.code)):
            where.forget(sweep.keys[number])
            del sweep.records[number]
    missing = sweep.missing
    known = len(sweep.cells) - len(missing)
    reporter.note(f"{len(sweep.cells)} cells: {known} known, {len(missing)} to run")
    for item in experiment.workloads:
        for axis in grid.axes(experiment).unused((*item.command, *item.args)):
            reporter.note(f"{item.title} does not use {axis}: only the number differs")
    trouble: DevmodelError | None = None
    interrupt: BaseException | None = None
    if missing:
        where.make()
        machines = list(dict.fromkeys(sweep.cells[number].machine for number in missing))
        try:
            with place(machines, work) as there:
                reporter.note(there.note)
                trouble = _run(sweep, there, reporter)
        except (KeyboardInterrupt, SystemExit) as error:
            interrupt = error
        # What ended meanwhile.
        sweep.look(sweep.missing)
    rows = sweep.rows()
    table.write(rows, out)
    _tell(rows, sweep, console, trouble)
    if json:
        summary = _summary(rows, sweep, out, ran=len(sweep.records) - known, trouble=trouble)
        jsonlib.dump({**summary, "interrupted": interrupt is not None}, sys.stdout, indent=1)
        print()
    if interrupt is not None:
        # Ctrl-C, or a SIGTERM: each has its exit code.
        raise interrupt
    codes = [row.record.code for row in rows if row.record.code]
    if trouble is not None:
        codes.insert(0, int(trouble.exit_code))
    return next((code for code in codes if code != 1), 1 if codes or sweep.missing else 0)


def _tell(
    rows: Sequence[Row], sweep: Sweep, console: Console, trouble: DevmodelError | None
) -> None:
    """A line for each cell that is not right, and one for all."""
    lines = [f"{row.point}: {row.record.why}" for row in rows if row.record.code]
    if trouble is not None:
        lines.append(str(trouble))
    counts = Counter(row.record.outcome.value for row in rows)
    counts["missing"] += len(sweep.missing)
    lines.append(", ".join(f"{count} {word}" for word, count in counts.items() if count))
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _summary(
    rows: Sequence[Row], sweep: Sweep, out: Path, *, ran: int, trouble: DevmodelError | None
) -> dict[str, Any]:
    """For machines."""
    return {
        "table": str(out),
        "cells": len(sweep.cells),
        "ran": ran,
        "outcomes": dict(Counter(row.record.outcome.value for row in rows)),
        "missing": [str(sweep.cells[number].point) for number in sweep.missing],
        "not_right": [
            {"cell": str(row.point), "outcome": row.record.outcome.value, "why": row.record.why}
            for row in rows
            if row.record.code
        ],
        "trouble": "" if trouble is None else str(trouble),
    }


def listed(experiment: Experiment, *, ask: Identify) -> list[dict[str, Any]]:
    """Each cell, and what is known of it; nothing is built or run. ConfigError as for `run`."""
    sweep = Sweep.planned(experiment, Store(store.folder()), ask, Reporter(quiet=True))
    return [
        {
            "cell": str(cell.point),
            "done": number in sweep.records,
            "outcome": sweep.records[number].outcome.value if number in sweep.records else None,
            "key": sweep.keys[number] or None,
        }
        for number, cell in enumerate(sweep.cells)
    ]
