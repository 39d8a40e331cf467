"""What a page of the documentation has people write and type: read, written and run.

Of a page counts what stands in fences that begin in the first column:

- A block whose first line is a comment with nothing but a file's name (``# mine.yaml``,
  ``// mine.cc``, ``/* mine.c */``) is that file.
- A ``console`` block has commands, which begin with ``$ `` and go on after ``> ``, and below each
  the lines that it prints. ``...`` stands for anything, as in doctest; how much space there is does
  not matter. They are compared with stdout, or with stdout and stderr together. No lines: whatever
  it prints is right.

A MyST comment (a line that begins with ``% ``, which nobody sees on the page) before a console
block says what is not as usual with it::

    % not run by tests: takes minutes to build
    % exits with 2
"""

import doctest
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^% (not run by tests: |exits with )(.+)$", re.MULTILINE)
FILE = re.compile(r"(?:#|//|/\*) ([\w./-]+\.\w+|Makefile)(?: \*/)?\n")
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class PageError(AssertionError):
    """A page that does not hold. The message says where, and what came instead."""


@dataclass(frozen=True)
class File:
    """A file that a page shows."""

    line: int
    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """What is typed, what comes of it, and if it is not run, why."""

    line: int
    words: str
    output: str
    exit_code: int = 0
    skip: str = ""


def parse(text: str) -> Iterator[File | Command]:
    """What stands in a page, from top to bottom."""
    end = 0
    for fence in FENCE.finditer(text):
        said = {kind: words for kind, words in COMMENT.findall(text, end, fence.start())}
        end = fence.end()
        line = text.count("\n", 0, fence.start()) + 2
        language, body = fence.groups()
        if language == "console":
            skip = said.get("not run by tests: ", "")
            yield from _commands(body, line, int(said.get("exits with ", 0)), skip)
        elif name := FILE.match(body):
            yield File(line, name[1], body)


def _commands(body: str, line: int, exit_code: int, skip: str) -> Iterator[Command]:
    found: list[list[str]] = []
    lines: list[int] = []
    for number, text in enumerate(body.splitlines(), line):
        if text.startswith("$ "):
            found.append([text[2:], ""])
            lines.append(number)
        elif not found:
            raise PageError(f"line {number}: output before any command")
        elif text.startswith("> ") and not found[-1][1]:
            found[-1][0] += "\n" + text[2:]
        else:
            found[-1][1] += text + "\n"
    for at, (words, output) in zip(lines, found, strict=True):
        yield Command(at, words, output, exit_code, skip)


def run(page: Path, folder: Path, seconds: float) -> None:
    """Write and run in `folder` all that is in a page. PageError says what does not hold."""
    for step in parse(page.read_text()):
        if isinstance(step, File):
            path = folder / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
        elif not step.skip:
            _run(step, page, folder, seconds)


def _run(step: Command, page: Path, folder: Path, seconds: float) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", step.words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "160"},
        check=False,
    )
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    where = f"{page.name}:{step.line}: $ {step.words}\n"
    if done.returncode != step.exit_code:
        raise PageError(f"{where}ended with {done.returncode}\n{out}{err}")
    if step.output and not any(_matches(step.output, got) for got in (out, err + out)):
        raise PageError(f"{where}expected:\n{step.output}\ngot:\n{out}\nand on stderr:\n{err}")


def _matches(expected: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(expected, got, LOOSELY)
