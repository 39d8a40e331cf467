"""Reading KTAP, what the guest's tests print, with kernel messages in between."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_PLAN = re.compile(r"\s*1\.\.(?P<count>\d+)\s*(?:#\s*(?P<skip>skip)\b.*)?$", re.IGNORECASE)
_TEST = re.compile(
    r"\s*(?P<ok>ok|not ok)\s+(?P<number>\d+)(?:\s+-)?\s*(?P<name>.*?)"
    r"(?:\s+#\s*(?P<directive>SKIP|XFAIL|TIMEOUT|ERROR|TODO)\b:?\s*(?P<reason>.*))?$",
    re.IGNORECASE,
)
_BAIL = re.compile(r"\s*Bail out!\s*(?P<reason>.*)$", re.IGNORECASE)
_NOTE = re.compile(r"\s*#\s?(?P<text>.*)$")
# "[   12.345678] " or "<4>[   12.345678][ T1] ", as on a console.
_STAMP = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*\w+\])?\s?")


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Case:
    """One test: its name, how it ended, and what it said before (diagnostics, or why not)."""

    name: str
    outcome: Outcome
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """All of a test program's output."""

    cases: tuple[Case, ...]
    planned: int | None
    """what the plan announced; None if there was none"""
    bailed: str | None = None
    """why the program gave up, if it did"""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the run as a whole; None if all that was planned has a result."""
        if self.bailed is not None:
            return f"bailed out: {self.bailed or 'no reason given'}"
        if self.planned is None:
            return "no plan: the program died early, or does not print KTAP"
        if len(self.cases) != self.planned:
            return f"{self.planned} tests were planned, {len(self.cases)} have results"
        return None

    def count(self, outcome: Outcome) -> int:
        """How many tests ended so."""
        return sum(case.outcome is outcome for case in self.cases)


def parse(text: str) -> Run:
    """Read KTAP. Nested tests count once, by their parent's line; foreign lines are passed over."""
    cases: list[Case] = []
    notes: list[str] = []
    planned: int | None = None
    bailed: str | None = None
    for raw in text.splitlines():
        line = _STAMP.sub("", raw)
        nested = line[:1].isspace()
        if match := _TEST.match(line):
            if nested:
                notes.append(line.strip())
                continue
            cases.append(_case(match, notes))
            notes = []
        elif (match := _PLAN.match(line)) and not nested:
            planned = int(match["count"])
        elif match := _BAIL.match(line):
            bailed = match["reason"]
        elif match := _NOTE.match(line):
            notes.append(match["text"])
    return Run(tuple(cases), planned, bailed)


def _case(match: re.Match[str], notes: list[str]) -> Case:
    directive = (match["directive"] or "").upper()
    said = [*notes, *([match["reason"]] if match["reason"] else [])]
    if directive == "SKIP":
        outcome = Outcome.SKIPPED
    elif match["ok"] == "ok" or directive in ("XFAIL", "TODO"):
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.FAILED
    return Case(match["name"], outcome, tuple(said))
