"""How things stood while a workload ran, as `dm-stats` saw it: columns of numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from devmodel.abi.counters import RISING
from devmodel.experiment.results import BadResult

SECONDS = "seconds"
HELD = ("resident_bytes", "hbm_bytes_in_use")
KNOWN = (SECONDS, *HELD, *(counter.name for counter in RISING))
# More than dm-stats takes.
MOST = 10_000
MOST_NUMBER = (1 << 64) - 1


@dataclass(frozen=True)
class Samples:
    """`columns` by name, all of one length. A counter that is not there did not rise."""

    columns: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def told(cls, text: str) -> Samples:
        """Those in a JSON object that is a result's; none if it has none. BadResult if wrong."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BadResult(f"not JSON: {text.strip()[:80]!r}") from error
        found = data.get("samples", {}) if isinstance(data, dict) else None
        return cls.checked(found)

    @classmethod
    def checked(cls, data: Any) -> Samples:
        """From what JSON made of them. What is not known is left out; BadResult if wrong."""
        if not isinstance(data, dict):
            raise BadResult("samples: not an object")
        columns = {name: data[name] for name in KNOWN if name in data}
        if not columns:
            return cls()
        for name, column in columns.items():
            if not isinstance(column, list) or not all(map(_is_number, column)):
                raise BadResult(f"samples: {name} is no list of numbers from 0 on")
        lengths = {len(column) for column in columns.values()}
        if SECONDS not in columns or len(lengths) > 1 or max(lengths) > MOST:
            raise BadResult("samples: columns of different lengths, of too many, or of no time")
        times = columns[SECONDS]
        if any(later < sooner for sooner, later in pairwise(times)):
            raise BadResult("samples: time goes back")
        return cls(columns)

    def __len__(self) -> int:
        return len(self.columns.get(SECONDS, ()))

    def column(self, name: str) -> list[float]:
        """One number for each sample; zeros for a counter that did not rise."""
        return self.columns.get(name, [0.0] * len(self))


def _is_number(value: object) -> bool:
    # Python's bool is an int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= MOST_NUMBER
