"""docs/extending.md: each change applies to this tree, and does what the page says.

Each section has a copy of the tree of its own, in which what stands there is applied and typed.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pages
import pytest

from devmodel import paths

ROOT = paths.GUEST.parent
PAGE = ROOT / "docs/extending.md"
PARTS = ("devmodel", "docs", "guest", "qemu-config", "tests", "pyproject.toml", "README.md")
SECONDS = 240.0
COMMANDS = {
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    "devmodel": f'#!/bin/sh\nexec {sys.executable} -m devmodel.cli.main "$@"\n',
}

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(2 * SECONDS)]


def changes() -> list[pages.Change]:
    """All that the page has."""
    return [step for step in pages.parse(PAGE.read_text()) if isinstance(step, pages.Change)]


def sections() -> list[object]:
    """Each section's steps, by its heading."""
    text = PAGE.read_text()
    found = []
    for part in re.finditer(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE):
        first = text.count("\n", 0, part.start()) + 1
        found.append(pytest.param(list(pages.parse(part[0], first)), id=part[1].replace(" ", "-")))
    return found


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree, to be changed; `devmodel` and `python` there are its own."""
    folder, programs = tmp_path / "tree", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "_build")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=leave)
        else:
            shutil.copy(ROOT / part, folder / part)
    for name, text in COMMANDS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    # Before the checkout that is installed where the tests run.
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))
    return folder


def test_every_kind_has_a_change() -> None:
    assert len(changes()) == len(sections()) == 5


@pytest.mark.parametrize("steps", sections())
def test_a_change_does_what_it_says(steps: list[pages.Step], copy: Path) -> None:
    pages.run(PAGE, steps, copy, SECONDS)


def test_a_hunk_that_is_out_of_date_is_named(copy: Path) -> None:
    fault = copy / "guest/driver/fault.c"
    fault.write_text(fault.read_text().replace("span_fault(", "other_fault("))
    with pytest.raises(pages.PageError, match=r"extending.md:\d+: .*\n(?s:.*)fault.c:\d+"):
        pages.run(PAGE, changes(), copy, SECONDS)
