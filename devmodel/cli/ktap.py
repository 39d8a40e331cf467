"""`devmodel run --ktap`: a guest's tests, passed through and judged."""

from __future__ import annotations

import datetime
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from devmodel.cli import output
from devmodel.errors import ConfigError, DevmodelError
from devmodel.experiment import junit
from devmodel.experiment.ktap import Leaf, Outcome, Reader, Run
from devmodel.experiment.streams import Lines
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.machine.machine import Machine

STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.SKIPPED: "yellow",
    Outcome.XFAILED: "yellow",
}


class Through(io.BufferedIOBase):
    """Goes to `sink`, if there is one, as it comes; and each line to a reader of KTAP."""

    def __init__(self, reader: Reader, sink: io.BufferedIOBase | None) -> None:
        super().__init__()
        self._lines = Lines(reader.line)
        self._sink = sink

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream."""
        if self._sink is not None:
            self._sink.write(data)  # type: ignore[arg-type]
            self._sink.flush()
        return self._lines.write(data)

    def end(self) -> None:
        """A last line without an end is one."""
        self._lines.write(b"\n")


def run(
    config: MachineConfig,
    extra: Options,
    command: Sequence[str],
    *,
    timeout: float,
    junit_file: Path | None,
    as_json: bool,
) -> int:
    """Run `command` in a guest and judge the KTAP that it prints.

    0 if all tests passed, the command said so too and the kernel had nothing to complain of; 1 if
    not. What befell machine or guest is raised, after all is told that came before.
    """
    if not command:
        raise ConfigError("--ktap: no command to run", hint="add -- and a program that prints KTAP")
    if junit_file is not None:
        # At once: who cannot have the file need not wait, and an old one is nobody's result.
        _write(junit_file, b"")
    reader = Reader()
    through = Through(reader, None if as_json else output.binary(sys.stdout))
    began = datetime.datetime.now(datetime.UTC)
    begin = time.monotonic()
    code: int | None = None
    fatal: DevmodelError | None = None
    try:
        with Machine(config, reporter=output.reporter(), options=extra) as vm:
            begin = time.monotonic()
            code = vm.run(
                command,
                stdin=output.stdin(),
                timeout=timeout,
                stdout=through,
                stderr=output.binary(sys.stderr),
            ).exit_code
    except DevmodelError as error:
        fatal = error
    through.end()
    result = reader.run()
    troubles = _troubles(result, code, fatal)
    if junit_file is not None:
        document = junit.document(
            result,
            suite=Path(command[0]).name,
            seconds=time.monotonic() - begin,
            began=began.isoformat(timespec="seconds"),
            troubles=troubles,
        )
        _write(junit_file, document)
    if as_json:
        output.print_json(as_dict(result, code, troubles))
    tell(result, troubles if fatal is None else troubles[1:])
    if fatal is not None:
        raise fatal
    return 1 if troubles or not result.good else 0


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        hint = "name a file that can be written"
        raise ConfigError(f"--junit {path}: {error.strerror}", hint=hint) from error


def _troubles(result: Run, code: int | None, fatal: DevmodelError | None) -> list[str]:
    """What is wrong beside tests that failed; the machine's or guest's own error comes first."""
    found = [] if fatal is None else [f"{fatal}\n{fatal.details}".strip()]
    if result.trouble is not None:
        found.append(result.trouble)
    elif code and result.good:
        found.append(f"no test failed, but the exit code is {code}")
    return found


def as_dict(result: Run, code: int | None, troubles: Sequence[str]) -> dict[str, Any]:
    """For JSON. `exit_code` is the command's, null if it did not end by itself."""
    return {
        "good": result.good and not troubles,
        "tests": [
            {"name": list(leaf.path), "outcome": leaf.outcome.value, "notes": list(leaf.notes)}
            for leaf in result.leaves
        ],
        "counts": {outcome.value: result.count(outcome) for outcome in Outcome},
        "planned": result.planned,
        "exit_code": code,
        "troubles": list(troubles),
    }


def tell(result: Run, troubles: Sequence[str]) -> None:
    """On stderr: a table of all tests on a terminal, elsewhere a line for each that matters."""
    console = output.stderr()
    if console.is_terminal and result.leaves:
        console.print(_table(result.leaves))
    else:
        for leaf in result.leaves:
            if leaf.outcome is not Outcome.PASSED:
                console.print(Text(_line(leaf)), soft_wrap=True)
    for trouble in troubles:
        console.print(Text(shown(trouble.splitlines()[0])), soft_wrap=True)
    counts = [f"{result.count(o)} {o}" for o in Outcome if result.count(o)]
    console.print(Text(f"{len(result.leaves)} tests: {', '.join(counts) or 'none'}"))


def _line(leaf: Leaf) -> str:
    return shown(f"{leaf.outcome}: {': '.join([leaf.title, *leaf.notes[-1:]])}")


def _table(leaves: Sequence[Leaf]) -> Table:
    table = Table("test", "", "", box=None, show_header=False)
    for leaf in leaves:
        note = "" if leaf.outcome is Outcome.PASSED else "\n".join(map(shown, leaf.notes[-3:]))
        outcome = Text(leaf.outcome.value, STYLES[leaf.outcome])
        table.add_row(Text(shown(leaf.title)), outcome, Text(note))
    return table


def shown(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
