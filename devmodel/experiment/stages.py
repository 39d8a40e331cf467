"""How far several experiments at once have come: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Stages:
    """Shown while it is entered. Its methods may be called from any thread."""

    def __init__(self, console: Console, names: list[str], total: int) -> None:
        """`names` of the experiments, each of `total` stages."""
        self._console = console
        self._total = total
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[stage]}"),
                console=console,
            )
            for name in names:
                self._tasks[name] = self._progress.add_task(name, total=total, stage="waiting")

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    def reach(self, name: str, stage: str, *, done: bool = False) -> None:
        """The experiment `name` is at the next stage, or, with `done`, at its end."""
        if self._progress:
            task = self._tasks[name]
            self._progress.update(task, advance=1, stage=stage)
            if done:
                self._progress.update(task, completed=self._total)
                self._progress.stop_task(task)
            return
        with self._lock:
            seconds = time.monotonic() - self._begin
            self._console.print(f"{seconds:5.1f} s  {name}: {stage}", markup=False, soft_wrap=True)
