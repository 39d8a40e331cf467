"""Results that `devmodel compare --json` wrote, read again: by anybody, so nothing is believed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from devmodel.errors import ConfigError
from devmodel.experiment.results import BadResult, Result
from devmodel.experiment.samples import Samples

MOST_BYTES = 64 << 20
MOST_ROWS = 10_000
MOST_OF_A_NAME = 100
MOST = (1 << 64) - 1
STDIN = Path("-")
HINT = "write one with `devmodel compare --json`"


@dataclass(frozen=True)
class Run:
    """One row. `label` is its model, with what else sets it apart where several files do."""

    label: str
    result: Result
    policy: str
    device_lost: str
    number: int
    why: str
    samples: Samples

    @property
    def workload(self) -> str:
        """What was run."""
        return self.result.workload


@dataclass(frozen=True)
class Saved:
    """One file of results. `made` is what provenance wrote; empty if it is from before that."""

    name: str
    runs: tuple[Run, ...]
    made: Mapping[str, Any]

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """What was booted, by model."""
        found = self.made.get("machines")
        items = found.items() if isinstance(found, dict) else ()
        return {str(model): value for model, value in items if isinstance(value, dict)}

    @property
    def show(self) -> list[str]:
        """The columns that its experiment shows; none if it does not say."""
        experiment = self.made.get("experiment")
        names = experiment.get("show") if isinstance(experiment, dict) else None
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def load(path: Path) -> Saved:
    """Read a file, or stdin for ``-``. ConfigError in one line for whatever is no results."""
    try:
        if path == STDIN:
            data = _bounded(sys.stdin.buffer)
        else:
            with path.open("rb") as file:
                data = _bounded(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name a file of results") from error
    name = "stdin" if path == STDIN else path.stem
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{path}: more than {MOST_BYTES >> 20} MiB", hint=HINT)
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {' '.join(str(error).split())}", hint=HINT) from error
    try:
        return parse(found, name)
    except BadResult as error:
        raise ConfigError(f"{path}: {error}", hint=HINT) from error


def parse(data: object, name: str) -> Saved:
    """From what JSON made of it. BadResult says what is not as it should be."""
    rows = data.get("results") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(rows, list):
        raise BadResult('no object with "results", a list')
    if not rows:
        raise BadResult("it has no results")
    if len(rows) > MOST_ROWS:
        raise BadResult(f"{len(rows)} rows, more than {MOST_ROWS}")
    samples = _samples(data.get("samples", []))
    runs = tuple(_run(row, number, samples) for number, row in enumerate(rows))
    made = data.get("made")
    return Saved(name, runs, made if isinstance(made, dict) else {})


def _bounded(file: BinaryIO) -> bytes:
    return file.read(MOST_BYTES + 1)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _run(row: object, number: int, samples: Mapping[tuple[str, str, int], Samples]) -> Run:
    where = f"results[{number}]"
    if not isinstance(row, dict):
        raise BadResult(f"{where}: not an object")
    model, workload = (_word(row, name, where) for name in ("model", "workload"))
    if type(row.get("checked")) is not bool:
        raise BadResult(f"{where}.checked: missing, or not true or false")
    try:
        result = Result.blank(model, workload).told(json.dumps(row))
    except BadResult as error:
        raise BadResult(f"{where}: {error}") from error
    for name, value in result.as_dict().items():
        if isinstance(value, int | float) and not 0 <= value <= MOST:
            raise BadResult(f"{where}.{name}: {value} cannot be")
    run = row.get("run", 1)
    if type(run) is not int or not 1 <= run <= MOST:
        raise BadResult(f"{where}.run: {str(run)[:40]!r} is no number from 1 on")
    return Run(
        model,
        result,
        _word(row, "policy", where, "in_place"),
        _word(row, "device_lost", where, "not tried"),
        run,
        "" if result.checked else str(row.get("why") or "a result is wrong")[:1000],
        samples.get((model, workload, run), Samples()),
    )


def _samples(rows: object) -> dict[tuple[str, str, int], Samples]:
    """By model, workload and run."""
    if not isinstance(rows, list):
        raise BadResult("samples: not a list")
    found = {}
    for number, row in enumerate(rows):
        where = f"samples[{number}]"
        if not isinstance(row, dict) or type(row.get("run")) is not int:
            raise BadResult(f"{where}: not an object with the number of a run")
        key = _word(row, "model", where), _word(row, "workload", where), row["run"]
        try:
            found[key] = Samples.checked(row)
        except BadResult as error:
            raise BadResult(f"{where}: {error}") from error
    return found


def _word(row: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    """A name, fit to be shown anywhere."""
    word = row.get(name, default)
    if not isinstance(word, str) or not word.isprintable() or not 0 < len(word) <= MOST_OF_A_NAME:
        raise BadResult(
            f"{where}.{name}: missing, or no name of 1 to {MOST_OF_A_NAME} printable characters"
        )
    return word
