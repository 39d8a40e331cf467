"""docs/history.md: the event table is whole, and the tests that it names exist."""

import re
from pathlib import Path

import pytest

from devmodel import paths

HISTORY = paths.GUEST.parent / "docs" / "history.md"
EVENTS = (
    "NONE",
    "FORK",
    "ISDIRTY",
    "MIGRATE",
    "MUNMAP",
    "DEVICE_RFAULT",
    "DEVICE_WFAULT",
    "WRITE_PROTECT",
    "EXCLUSIVE",
)
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)(?:#[^)]*)?\)")
ROW = re.compile(r"^\| (\w+) \|.*\|$", re.MULTILINE)


def links() -> list[tuple[str, Path]]:
    found = [(text, HISTORY.parent / target) for text, target in LINK.findall(HISTORY.read_text())]
    assert found
    return found


@pytest.mark.parametrize(("text", "target"), links(), ids=lambda value: str(value)[-60:])
def test_what_is_linked_is_there(text: str, target: Path) -> None:
    assert target.is_file()
    if target.match("guest/tests/dm-test-*.c"):
        assert f'.name = "{text}"' in target.read_text()


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_row_with_a_test(event: str) -> None:
    table = HISTORY.read_text().partition("## The event table")[2]
    (row,) = (match[0] for match in ROW.finditer(table) if match[1] == event)
    assert any("test" in target for _, target in LINK.findall(row))


def test_every_test_of_an_event_is_linked() -> None:
    linked = {text for text, _ in links()}
    files = sorted((paths.GUEST / "tests").glob("dm-test-event-*.c"))
    assert files
    for path in files:
        names = re.findall(r'\.name = "([^"]+)"', path.read_text())
        assert names
        assert {*names} <= linked
