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

- A ``diff`` block is a change to the tree that the folder is a copy of.
"""

import doctest
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True)
class Change:
    """A change that a page shows: a unified diff, with a heading for each file."""

    line: int
    diff: str


Step = File | Command | Change


def parse(text: str, first: int = 1) -> Iterator[Step]:
    """What stands in a page, or in a part that begins with its line `first`, top to bottom."""
    end = 0
    for fence in FENCE.finditer(text):
        said = dict(COMMENT.findall(text, end, fence.start()))
        end = fence.end()
        line = text.count("\n", 0, fence.start()) + first + 1
        language, body = fence.groups()
        if language == "console":
            skip = said.get("not run by tests: ", "")
            yield from _commands(body, line, int(said.get("exits with ", 0)), skip)
        elif language == "diff":
            yield Change(line, body)
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


def run(page: Path, steps: Iterable[Step], folder: Path, seconds: float) -> None:
    """Write, change and run in `folder` what a page has. PageError says what does not hold."""
    for step in steps:
        if isinstance(step, File):
            path = folder / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
        elif isinstance(step, Change):
            _apply(step, page, folder)
        elif not step.skip:
            _run(step, page, folder, seconds)


def _apply(step: Change, page: Path, folder: Path) -> None:
    done = subprocess.run(
        ["git", "apply", "--verbose", "-"],
        cwd=folder,
        input=step.diff,
        capture_output=True,
        text=True,
        # Where the copy lies in somebody's repository, it is not that one's.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
        check=False,
    )
    if done.returncode:
        # Says which file and line a hunk is for, and what is not there.
        raise PageError(f"{page.name}:{step.line}: the change does not apply\n{done.stderr}")


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
    # With nothing in its place there is one space, not the two that stand around it.
    wanted = re.sub(r"\s*\.\.\.\s*", "...", expected)
    return doctest.OutputChecker().check_output(wanted, got, LOOSELY)
