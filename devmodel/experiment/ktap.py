"""Reading KTAP, what the guest's tests print, with kernel messages in between.

Tests may hold others, indented below them, whose lines come before their own. A run is what its
leaves are: each has a path of names, as in ("outer", "inner").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

_VERSION = re.compile(r"K?TAP version \d+$")
_PLAN = re.compile(r"1\.\.(?P<count>\d+)\s*(?:#\s*(?P<skip>skip)\b.*)?$", re.IGNORECASE)
_TEST = re.compile(
    r"(?P<ok>ok|not ok)\s+(?P<number>\d+)(?:\s+-)?\s*(?P<name>.*?)"
    r"(?:\s+#\s*(?P<directive>SKIP|XFAIL|TIMEOUT|ERROR|TODO)\b:?\s*(?P<reason>.*))?$",
    re.IGNORECASE,
)
_BAIL = re.compile(r"Bail out!\s*(?P<reason>.*)$", re.IGNORECASE)
_NOTE = re.compile(r"#\s?(?P<text>.*)$")
_SUBTEST = re.compile(r"Subtest:\s*(?P<name>.*)$")
# "[   12.345678] " or "<4>[   12.345678][ T1] ", as on a console.
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*\w+\])?\s?")
# Somebody may print a debug log in the form of notes: the last ones are kept.
MOST_NOTES = 200


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    """failed, which was expected of it (TODO, XFAIL)"""


@dataclass(frozen=True)
class Case:
    """One test: its name, how it ended, what it said before (diagnostics, or why not)."""

    name: str
    outcome: Outcome
    notes: tuple[str, ...] = ()
    children: tuple[Case, ...] = ()

    def leaves(self, above: tuple[str, ...] = ()) -> Iterator[Leaf]:
        """The tests that hold no others; and itself, if it failed and none of those did."""
        path = (*above, self.name)
        below = [leaf for child in self.children for leaf in child.leaves(path)]
        yield from below
        own = not any(leaf.outcome is Outcome.FAILED for leaf in below)
        if not below or (self.outcome is Outcome.FAILED and own):
            yield Leaf(path, self.outcome, self.notes)


@dataclass(frozen=True)
class Leaf:
    """A result of a run."""

    path: tuple[str, ...]
    outcome: Outcome
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The path in one line."""
        return " / ".join(self.path)


@dataclass(frozen=True)
class Run:
    """All of a test program's output."""

    cases: tuple[Case, ...]
    planned: int | None
    """what the plan announced; None if there was none"""
    bailed: str | None = None
    """why the program gave up, if it did"""

    @property
    def leaves(self) -> list[Leaf]:
        """The results, in the order in which they came."""
        return [leaf for case in self.cases for leaf in case.leaves()]

    @property
    def failed(self) -> list[Leaf]:
        """Those that failed."""
        return [leaf for leaf in self.leaves if leaf.outcome is Outcome.FAILED]

    @property
    def trouble(self) -> str | None:
        """What is wrong with the run as a whole; None if all that was planned has a result."""
        if self.bailed is not None:
            return f"bailed out: {self.bailed or 'no reason given'}"
        if self.planned is None:
            return "no plan: the program died early, or does not print KTAP"
        return _miscounted(self.planned, self.cases)

    @property
    def good(self) -> bool:
        """Whether it is whole, and nothing failed."""
        return self.trouble is None and not self.failed

    def count(self, outcome: Outcome) -> int:
        """How many results are of this kind."""
        return sum(leaf.outcome is outcome for leaf in self.leaves)


def _miscounted(planned: int, cases: Sequence[Case]) -> str | None:
    if len(cases) == planned:
        return None
    return f"{planned} tests were planned, {len(cases)} have results"


@dataclass
class _Level:
    """The tests at one indentation, until the line of the test that holds them."""

    indent: int
    name: str = ""
    planned: int | None = None
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)
        del self.notes[:-MOST_NOTES]

    def unfinished(self) -> Case:
        """As a test whose own line never came."""
        notes = (*self.notes, "it has no result: the program died, or went on without one")
        return Case(self.name or "unnamed", Outcome.FAILED, notes, tuple(self.cases))


class Reader:
    """Takes the lines as they come. Foreign ones are passed over."""

    def __init__(self) -> None:
        self._levels = [_Level(0)]
        self._bailed: str | None = None

    def line(self, raw: str) -> None:
        """One line, with or without its end."""
        line = _STAMP.sub("", raw.rstrip("\r\n"))
        words = line.lstrip(" \t")
        indent = len(line) - len(words)
        if match := _TEST.match(words):
            inner = self._close(indent)
            level = self._open(indent)
            level.cases.append(_case(match, level.notes, inner))
            level.notes = []
        elif _VERSION.match(words):
            # What stands at this depth was left without its own line, unless it is the top.
            if left := self._close(max(indent - 1, 0)):
                self._levels[-1].cases.append(left.unfinished())
            self._open(indent)
        elif match := _PLAN.match(words):
            level = self._open(indent)
            level.planned = (level.planned or 0) + int(match["count"])
        elif match := _BAIL.match(words):
            self._bailed = match["reason"]
        elif match := _NOTE.match(words):
            self._note(indent, match["text"])

    def run(self) -> Run:
        """What has come by now, as if nothing more did."""
        inner: tuple[Case, ...] = ()
        top, *deeper = self._levels
        for level in reversed(deeper):
            inner = (replace(level, cases=[*level.cases, *inner]).unfinished(),)
        return Run((*top.cases, *inner), top.planned, self._bailed)

    def _note(self, indent: int, text: str) -> None:
        if (match := _SUBTEST.match(text)) and indent:
            self._open(indent).name = match["name"]
            return
        level = next(level for level in reversed(self._levels) if level.indent <= indent)
        level.note(text)

    def _open(self, indent: int) -> _Level:
        """The level of this indentation; a new one within the innermost if there is none."""
        for level in self._levels:
            if level.indent >= indent:
                return level
        self._levels.append(_Level(indent))
        return self._levels[-1]

    def _close(self, indent: int) -> _Level | None:
        """Take away what is deeper. What had a test between it and the next is that one's."""
        inner: _Level | None = None
        while self._levels[-1].indent > indent:
            level = self._levels.pop()
            if inner is not None:
                level.cases.append(inner.unfinished())
            inner = level
        return inner


def parse(text: str) -> Run:
    """Read KTAP, whole."""
    reader = Reader()
    # Not splitlines(), which takes what a hostile name may hold for the end of a line.
    for line in text.split("\n"):
        reader.line(line)
    return reader.run()


def _case(match: re.Match[str], before: Sequence[str], inner: _Level | None) -> Case:
    directive = (match["directive"] or "").upper()
    children = () if inner is None else tuple(inner.cases)
    said = [*before, *(() if inner is None else inner.notes)]
    if match["reason"]:
        said.append(match["reason"])
    wrong = None
    if inner is not None and inner.planned is not None:
        wrong = _miscounted(inner.planned, children)
    if directive == "SKIP":
        outcome = Outcome.SKIPPED
    elif directive in ("XFAIL", "TODO") and match["ok"].lower() != "ok":
        outcome = Outcome.XFAILED
    elif wrong or any(child.outcome is Outcome.FAILED for child in children):
        outcome = Outcome.FAILED
        said += [wrong] if wrong else []
    else:
        outcome = Outcome.PASSED if match["ok"].lower() == "ok" else Outcome.FAILED
    return Case(match["name"], outcome, tuple(said), children)
