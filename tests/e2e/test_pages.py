"""Tutorial and how-tos: all that a page has people write and type is written and run.

Each page in a folder of its own, with `devmodel` on PATH. What is not run says why (see pages.py),
and is skipped here with that reason.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

from devmodel import paths

DOCS = paths.GUEST.parent / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
SECONDS = 240.0
COMMAND = f"""\
#!/bin/sh
exec {sys.executable} -m devmodel.cli.main "$@"
"""

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(3 * SECONDS)]


def label(page: Path) -> str:
    return str(page.relative_to(DOCS).with_suffix(""))


SKIPPED = [
    pytest.param(step, id=f"{label(page)}-{step.line}")
    for page in PAGES
    for step in pages.parse(page.read_text())
    if isinstance(step, pages.Command) and step.skip
]


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to type in, with `devmodel` at hand; guests that are left running are ended."""
    programs, folder = tmp_path / "bin", tmp_path / "folder"
    programs.mkdir()
    folder.mkdir()
    (programs / "devmodel").write_text(COMMAND)
    (programs / "devmodel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))
    yield folder
    subprocess.run([programs / "devmodel", "stop", "--all"], check=False, timeout=SECONDS)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_a_page_holds(page: Path, person: Path) -> None:
    pages.run(page, pages.parse(page.read_text()), person, SECONDS)


@pytest.mark.parametrize("step", SKIPPED)
def test_a_command_is_not_run(step: pages.Command) -> None:
    pytest.skip(step.skip)
