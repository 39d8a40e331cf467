"""Words to people on stderr, data on stdout."""

import io
import json
import sys
from collections.abc import Sequence
from typing import TextIO, cast

from rich.console import Console

from devmodel.errors import DevmodelError
from devmodel.progress import Reporter

PROGRAM = "devmodel"
RESULT_HELP = '{"exit_code", "stdout", "stderr"} on stdout when the command has ended'


def stderr() -> Console:
    """stderr, coloured only on a terminal and without NO_COLOR (rich looks at both)."""
    return Console(stderr=True, highlight=False)


def reporter(quiet: bool = False) -> Reporter:
    """Progress on stderr."""
    return Reporter(stderr(), quiet=quiet)


def show_error(error: DevmodelError, verbose: int) -> None:
    """One line with the remedy; with -v what led to it, too."""
    if verbose and error.details:
        print(error.details, file=sys.stderr)
    line = " ".join(str(error).split())
    stderr().print(f"[bold red]{PROGRAM}:[/] ", end="")
    print(line, file=sys.stderr)


def binary(stream: TextIO) -> io.BufferedIOBase:
    """The bytes below a text stream, where a guest's output goes unchanged."""
    return cast(io.BufferedIOBase, stream.buffer)


def streams() -> dict[str, io.BufferedIOBase]:
    """Where a guest command's two outputs go, as they come."""
    return {"stdout": binary(sys.stdout), "stderr": binary(sys.stderr)}


def stdin() -> bytes | int:
    """What a guest's command reads: what is piped in. Not a terminal, which is the person's."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return b""
    return sys.stdin.fileno()


def print_json(data: object) -> None:
    """One JSON value on stdout."""
    json.dump(data, sys.stdout, indent=1)
    print()


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Lines of as many cells each, in columns, on stdout."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
