"""The guest's serial console: kept in a file, watched for trouble and for the guest's own words.

The kernel's complaints, by what they mean::

    panic   "Kernel panic - not syncing"                      the guest ends (panic=-1, -no-reboot)
    oops    "BUG:", "Oops", "general protection fault"        becomes a panic (oops=panic)
    splat   "WARNING:", KASAN, lockdep, RCU stall, hung task  the guest goes on; the run has failed
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

READY = "devmodel-guest: ready"
GUEST_NOTE = re.compile(r"devmodel-guest: (?!ready)(.*)")


class Trouble(StrEnum):
    """How bad a line is."""

    PANIC = "panic"
    OOPS = "oops"
    SPLAT = "splat"


# A kernel line begins with its time; without that a program's output could look like one.
_KERNEL = r"^(?:<\d>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? "
PATTERNS: tuple[tuple[Trouble, re.Pattern[str]], ...] = (
    (Trouble.PANIC, re.compile(_KERNEL + r"Kernel panic - not syncing")),
    (
        Trouble.SPLAT,
        re.compile(
            _KERNEL + r"(?:.*\bWARNING: |BUG: KASAN|BUG: sleeping function|BUG: workqueue|"
            r"BUG: KFENCE|KFENCE: |BUG: Bad page|BUG: Bad rss|"
            r"rcu: INFO: .*(?:stall|self-detected)|INFO: (?:rcu|task .* blocked)|"
            r"watchdog: BUG: soft lockup|kmemleak: \d+ new|UBSAN: )"
        ),
    ),
    (
        Trouble.OOPS,
        re.compile(
            _KERNEL + r"(?:BUG: |Oops|kernel BUG at|general protection fault|"
            r"Unable to handle|stack segment|double fault|invalid opcode)"
        ),
    ),
)

_RIP = re.compile(_KERNEL + r"RIP: 0010:(\S+)")


@dataclass(frozen=True)
class Event:
    """A line of the console that says something went wrong."""

    trouble: Trouble
    line: str
    number: int
    """of the line, counted from 0"""


def scan(path: Path) -> list[Event]:
    """The events in a console log that somebody else wrote; none if there is no such file."""
    if not path.exists():
        return []
    events = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        if trouble := classify(line):
            events.append(Event(trouble, line.strip(), number))
    return events


def worst(events: Sequence[Event]) -> Event | None:
    """The event that explains an end: the first oops, else the first panic, else None.

    oops=panic turns an oops into a panic, so the first oops is the cause of it.
    """
    for wanted in (Trouble.OOPS, Trouble.PANIC):
        for event in events:
            if event.trouble is wanted:
                return event
    return None


def where(path: Path, event: Event) -> str | None:
    """Where the kernel was at an event: `function+0x1/0x2`, by the first RIP told after it."""
    for line in path.read_text(errors="replace").splitlines()[event.number : event.number + 30]:
        if found := _RIP.search(line):
            return found[1]
    return None


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a log, for an error's details; "" if there is none."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def classify(line: str) -> Trouble | None:
    """What a line of the console means."""
    for trouble, pattern in PATTERNS:
        if pattern.search(line):
            return trouble
    return None


class Console:
    """Takes the console's bytes as they come. Not thread-safe: one thread feeds it."""

    def __init__(self, log: Path, echo: Callable[[str], None] | None = None) -> None:
        self.path = log
        self.ready = False
        self.closed = False
        self.events: list[Event] = []
        self.notes: list[str] = []
        """What the guest's init complained about."""
        self.failure: Exception | None = None
        """What kept the log from being written, or a listener from listening: the guest goes on,
        and is looked at, but whoever asks how it is is told."""
        self._echo = echo
        self._rest = b""
        self._lines = 0
        self._file: IO[bytes] = log.open("wb", buffering=0)

    def feed(self, data: bytes) -> None:
        """More output. Lines are looked at when they are whole. Never raises.

        Its caller reads for QEMU, which would stop with the guest if nobody did.
        """
        try:
            self._write(data)
        except OSError as error:
            self.failure = self.failure or error
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            self._look(raw.decode(errors="replace").rstrip("\r"))

    def close(self) -> None:
        """No more output will come: a last line without an end counts too."""
        if self._rest:
            self._look(self._rest.decode(errors="replace"))
            self._rest = b""
        self._file.close()
        self.closed = True

    def _write(self, data: bytes) -> None:
        # Unbuffered, and a full disk may take a part.
        while data:
            data = data[self._file.write(data) :]

    def _look(self, line: str) -> None:
        self._tell(line)
        if READY in line:
            self.ready = True
        elif note := GUEST_NOTE.search(line):
            self.notes.append(note[1])
        elif trouble := classify(line):
            self.events.append(Event(trouble, line.strip(), self._lines))
        self._lines += 1

    def _tell(self, line: str) -> None:
        if self._echo is None:
            return
        try:
            self._echo(line)
        except BrokenPipeError:
            self._echo = None  # the reader has seen enough
        except Exception as error:
            self._echo = None
            self.failure = self.failure or error

    def splats(self) -> list[Event]:
        """Complaints that did not end the guest."""
        return [event for event in self.events if event.trouble is Trouble.SPLAT]
