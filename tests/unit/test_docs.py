"""The documentation: it is built without a warning, and its reference is whole."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.cli import main

ROOT = paths.GUEST.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as text, as `make docs` has them as HTML."""
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("sphinx is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-n",
            "-q",
            "-b",
            "html",
            DOCS,
            folder,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def words(page: Path) -> str:
    """A page without its markup."""
    return re.sub(r"<[^>]*>", "", page.read_text())


def test_every_page_is_built(built: Path) -> None:
    sources = [
        path.relative_to(DOCS).with_suffix("")
        for path in DOCS.rglob("*.md")
        if "_build" not in path.parts
    ]
    assert len(sources) > 20
    for source in sources:
        assert (built / source).with_suffix(".html").is_file()


def test_no_page_wants_the_network(built: Path) -> None:
    """To be read: what it links to is another matter."""
    for page in built.rglob("*.html"):
        wanted = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert wanted == [], page


def test_the_reference_has_every_command(built: Path) -> None:
    text = words(built / "reference/command-line.html")
    for name in main.parser()._subparsers._group_actions[0].choices:  # type: ignore[union-attr]
        assert f"devmodel {name}" in text
    # First what all have in common.
    assert 0 < text.index("124 the command took too long") < text.index("devmodel doctor [-h]")


def test_the_reference_has_every_key(built: Path) -> None:
    """That each is explained is seen by the build: one that is not is a warning."""
    text = words(built / "reference/machine.html")
    for key in ("memory", "kernel.series", "devices[].hbm", "devices[].faults.failing_page"):
        assert key in text
    assert "restarts" in text


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_whatever_is_to_be_typed_is_in_a_block_that_the_tests_run() -> None:
    """In tutorial and how-tos, that is: tests/e2e/pages.py reads fences, in the first column."""
    for page in (DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md")):
        assert re.findall(r"^\s+\$ .*", page.read_text(), re.MULTILINE) == [], page


def test_a_reason_stands_before_what_it_is_about() -> None:
    for page in (DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md")):
        said = re.findall(
            r"^% (?:not run by tests: |exits with ).*\n(.*)", page.read_text(), re.MULTILINE
        )
        assert {*said} <= {"```console"}, page
