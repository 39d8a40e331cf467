"""The text of tracefs' file `trace`, as events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# "<...>-123  [001] d..1.  12.345678: name: the rest"
_LINE = re.compile(
    r"^\s*(?P<comm>.*)-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+\S+\s+"
    r"(?P<seconds>\d+)\.(?P<micros>\d{6}): (?P<name>\w+): ?(?P<text>.*)$"
)
_FIELD = re.compile(r"(\w+)=(.*?)(?=\s+\w+=|\s+==>\s|$)")
MARK = "tracing_mark_write"


@dataclass(frozen=True)
class Event:
    """`ns` of the guest's monotonic clock, to a microsecond; `fields` as it prints them."""

    ns: int
    cpu: int
    pid: int
    name: str
    text: str
    fields: dict[str, str]

    def number(self, name: str) -> int:
        """A field that is a number; 0 if it is none."""
        try:
            return int(self.fields.get(name, "0"), 0)
        except ValueError:
            return 0


def parse(text: str) -> Iterator[Event]:
    """Event by event. Lines that are none (the head, what a program wrote there) are left out."""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        ns = int(found["seconds"]) * 1_000_000_000 + int(found["micros"]) * 1000
        said = found["text"]
        fields = dict(_FIELD.findall(said))
        yield Event(ns, int(found["cpu"]), int(found["pid"]), found["name"], said, fields)


def lost(stats: str) -> int:
    """How many events were lost, from the text of all CPUs' files `stats`."""
    counts = re.findall(r"^(?:overrun|dropped events): (\d+)$", stats, re.MULTILINE)
    return sum(map(int, counts))
