"""The guest's own tests (guest/tests/dm-test-*.c), found without running anything."""

import re
from dataclasses import dataclass
from pathlib import Path

from devmodel import paths

_FILES = sorted((paths.GUEST / "tests").glob("dm-test-*.c"))
_ENTRY = re.compile(r"\{\s*\.name = \"(?P<name>[^\"]+)\"(?P<rest>[^}]*)\}")
_NEEDS = re.compile(r"\.needs = (?P<needs>KTAP_\w+)")
CONFIGS = ("mirror", "private", "coherent", "oversubscribed", "two-devices", "mixed-devices")
_OF_NEEDS = {
    "KTAP_ANY": ("mirror", "private", "coherent"),
    "KTAP_HBM": ("private", "coherent"),
    "KTAP_FRAMES": ("private", "coherent"),
    "KTAP_MIRROR": ("mirror",),
    "KTAP_PRIVATE": ("private",),
    "KTAP_COHERENT": ("coherent",),
    "KTAP_SMALL": ("oversubscribed",),
    "KTAP_PEERS": ("two-devices", "mixed-devices"),
    "KTAP_NODES": ("two-devices",),
}


@dataclass(frozen=True)
class GuestTest:
    """One test: its program, its name, and the configurations where it can be of use."""

    program: str
    name: str
    configs: tuple[str, ...]


def _in_file(path: Path) -> list[GuestTest]:
    found = []
    for match in _ENTRY.finditer(path.read_text()):
        needs = _NEEDS.search(match["rest"])
        configs = _OF_NEEDS[needs["needs"] if needs else "KTAP_ANY"]
        found.append(GuestTest(path.stem, match["name"], configs))
    return found


def programs() -> list[str]:
    """The test programs."""
    return [path.stem for path in _FILES]


def all_tests() -> list[GuestTest]:
    """Every test of every program."""
    return [test for path in _FILES for test in _in_file(path)]
