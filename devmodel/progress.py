"""What a long build tells the person in front of it.

A bar on a terminal; elsewhere (CI, a pipe) one line when it begins and one when it ends.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Step(Protocol):
    """A running piece of work."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more of the expected total is done."""


class Reporter:
    """Writes to stderr, so that stdout stays for data. Quiet if `quiet`."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.quiet = quiet

    def note(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Step]:
        """Work of about `total` units; the bar fills up at the end whatever was counted."""
        begin = time.monotonic()
        if self.quiet or not self.console.is_terminal:
            self.note(f"{title} ...")
            yield _Silent()
            self.note(f"{title}: done in {time.monotonic() - begin:.1f} s")
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=False) as progress:
            task = progress.add_task(title, total=max(total, 1))
            yield _Bar(progress, task, max(total, 1))
            progress.update(task, completed=max(total, 1))


class _Silent:
    def advance(self, amount: int = 1) -> None:
        pass


class _Bar:
    def __init__(self, progress: Progress, task: object, total: int) -> None:
        self._progress = progress
        self._task = task
        self._left = total

    def advance(self, amount: int = 1) -> None:
        # More lines than expected: stay just below full instead of claiming to be done.
        amount = min(amount, self._left - 1)
        if amount > 0:
            self._left -= amount
            self._progress.advance(self._task, amount)  # type: ignore[arg-type]
