"""What a long build tells the person in front of it.

A bar on a terminal; elsewhere (CI, a pipe), and for what goes on behind something else, lines:
one when it begins, one every few seconds, one when it ends. There are no minutes of silence, even
where the work itself has nothing to say.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

EVERY_SECONDS = 5.0
# Shorter work needs no line to say that it ended.
WORTH_SECONDS = 0.5


class Step(Protocol):
    """A running piece of work."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more of the expected total is done."""


class Reporter:
    """Writes to stderr, so that stdout stays for data. Quiet if `quiet`."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        lines: bool = False,
        every: float = EVERY_SECONDS,
    ) -> None:
        """With `lines`, no bars on a terminal either; `every` is the seconds between two."""
        self.console = console or Console(stderr=True, highlight=False)
        self.quiet = quiet
        self._lines = lines or not self.console.is_terminal
        self._every = every

    def note(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Step]:
        """Work of about `total` units; the bar fills up at the end whatever was counted."""
        total = max(total, 1)
        if self.quiet:
            yield _Counter(total)
        elif self._lines:
            with self._said(title, total) as counter:
                yield counter
        else:
            with self._drawn(title, total) as bar:
                yield bar

    @contextmanager
    def _said(self, title: str, total: int) -> "Iterator[_Counter]":
        begin = time.monotonic()
        counter, ended = _Counter(total), threading.Event()

        def speak() -> None:
            while not ended.wait(self._every):
                seconds = time.monotonic() - begin
                self.note(f"{title}: {counter.percent} % after {seconds:.0f} s")

        self.note(f"{title} ...")
        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield counter
        finally:
            ended.set()
            speaker.join()
        seconds = time.monotonic() - begin
        if seconds >= WORTH_SECONDS:
            self.note(f"{title}: done in {seconds:.1f} s")

    @contextmanager
    def _drawn(self, title: str, total: int) -> "Iterator[_Bar]":
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=False) as progress:
            bar = _Bar(progress, progress.add_task(title, total=total), total)
            yield bar
            progress.update(bar.task, completed=total)


class _Counter:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def advance(self, amount: int = 1) -> None:
        # More than expected: stay just below full instead of claiming to be done.
        self._done = min(self._done + amount, max(self._total - 1, 0))

    @property
    def percent(self) -> int:
        return 100 * self._done // self._total


class _Bar(_Counter):
    def __init__(self, progress: Progress, task: TaskID, total: int) -> None:
        super().__init__(total)
        self._progress = progress
        self.task = task

    def advance(self, amount: int = 1) -> None:
        super().advance(amount)
        self._progress.update(self.task, completed=self._done)
