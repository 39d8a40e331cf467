"""Sweeps without a guest: cells that do what their words say, in this process or in a worker's.

A cell's command is one of ::

    right [TEXT]    wrong     panic    no-guest     gate PATH  (waits until PATH is there)

LOG has a line for each cell that began and that ended: `begin POINT PID CHILD`, `end POINT`, where
CHILD is a process that stands for the guest's.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from devmodel.agent import lifeline
from devmodel.errors import DevmodelError, GuestPanic, LaunchFailed
from devmodel.experiment.config import Experiment
from devmodel.experiment.results import Result
from devmodel.experiment.sweep import place, sweep, work
from devmodel.experiment.sweep.cluster import cluster
from devmodel.experiment.sweep.grid import Cell
from devmodel.experiment.sweep.record import Outcome, Record, Where
from devmodel.experiment.sweep.work import Cancelled, Done, Task
from devmodel.machine.config import MachineConfig
from devmodel.progress import Reporter

LOG = "FAKE_CELLS_LOG"
WORDS = {"right", "wrong", "panic", "no-guest", "gate"}


class FakeGuest:
    """Its process dies as a guest's does: with the thread that started it."""

    def __init__(self, cancelled: Cancelled) -> None:
        words = [sys.executable, "-I", "-S", lifeline.__file__, str(os.getpid()), "sleep", "1000"]
        self.child = subprocess.Popen(words)
        self._cancelled = cancelled

    def run(self, cell: Cell) -> Record:
        """What the cell's words say."""
        _log(f"begin {cell.point} {os.getpid()} {self.child.pid}")
        what, *words = cell.workload.words
        assert what in WORDS
        result = Result.blank(cell.point.model, cell.point.workload)
        if what == "no-guest":
            raise LaunchFailed("no QEMU today")
        if what == "panic":
            return Record.failed(GuestPanic("it panicked"), result)
        while what == "gate" and not Path(words[0]).exists() and not self._cancelled():
            time.sleep(0.02)
        wrong = what == "wrong" or (what == "gate" and self._cancelled())
        text = hashlib.sha256(" ".join(words).encode()).hexdigest()
        where = Where("0", "7.2", host=str(os.getpid()))
        _log(f"end {cell.point}")
        record = Record(Outcome.RIGHT, 0, "", 0, text, result.as_dict(), where)
        return record.wrong("its output is wrong") if wrong else record


@contextlib.contextmanager
def prepare(task: Task, cancelled: Cancelled) -> Iterator[FakeGuest]:
    """As the real ones."""
    del task
    guest = FakeGuest(cancelled)
    try:
        yield guest
    finally:
        guest.child.kill()
        guest.child.wait()


def fake_work(task: Task, cancelled: Cancelled) -> Done:
    """What a worker does."""
    return work.run(task, cancelled, prepare)


def identify(machines: Sequence[MachineConfig], reporter: Reporter) -> sweep.Identities:
    """Machines need no kernels."""
    del reporter
    known: dict[MachineConfig, str | DevmodelError | None] = {}
    for machine in machines:
        known[machine] = machine.model_dump_json()
    return known


def run(
    file: Path,
    out: Path,
    *,
    jobs: int = 1,
    scheduler: str = "",
    again: str = "",
    json: bool = False,
    console: Console | None = None,
) -> int:
    """`devmodel sweep`, with such cells."""
    return sweep.run(
        Experiment.load(file),
        cluster(scheduler) if scheduler else place.local(jobs),
        console or Console(stderr=True),
        out=out,
        again=again,
        json=json,
        work=fake_work,
        ask=identify,
    )


def log() -> list[str]:
    """The lines so far."""
    path = Path(os.environ[LOG])
    return path.read_text().splitlines() if path.exists() else []


def _log(line: str) -> None:
    # One write of O_APPEND: lines of several processes do not mix.
    fd = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2]), jobs=int(sys.argv[3])))
    sys.exit(130)
