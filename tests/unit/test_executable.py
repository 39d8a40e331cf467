"""Programs as files: which a guest can run, and what is said of the others."""

import struct
import subprocess
from pathlib import Path

import pytest

from devmodel.build import tree
from devmodel.errors import ConfigError
from devmodel.experiment import executable
from devmodel.progress import Reporter


def elf(
    *, kind: int = 2, machine: int = 62, bits: int = 2, headers: tuple[int, ...] = (1, 2)
) -> bytes:
    """A file that begins as one: with program headers of these types."""
    head = b"\x7fELF" + bytes((bits, 1, 1)) + bytes(9) + struct.pack("<HH", kind, machine)
    head = head.ljust(32, b"\0") + struct.pack("<Q", 64)
    head = head.ljust(54, b"\0") + struct.pack("<HH", 56, len(headers))
    return head.ljust(64, b"\0") + b"".join(
        struct.pack("<I", at).ljust(56, b"\0") for at in headers
    )


@pytest.mark.parametrize(
    "content", [elf(), elf(kind=3), b"#!/bin/sh\nexit 0\n"], ids=["static", "static-pie", "script"]
)
def test_what_a_guest_can_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    path.chmod(0o755)
    executable.check(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"mine is not executable; chmod \+x it"):
        executable.check(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is neither a Linux executable nor a script; build it first, or begin it with #!"),
        (b"int main(void) {}\n", "is neither a Linux executable nor a script; "),
        (elf(kind=1), "is an object file, no executable; link it, with -static"),
        (elf(kind=3, headers=(6, 3, 1)), "is dynamically linked, and guests have no libraries"),
        (elf(machine=183), "is for another processor; build it for x86-64"),
        (elf(bits=1), "is for another processor; build it for x86-64"),
        (elf()[:20], "is for another processor"),
    ],
    ids=["empty", "source", "object", "dynamic", "arm", "32 bits", "cut"],
)
def test_what_it_cannot(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    path.chmod(0o755)
    with pytest.raises(ConfigError) as caught:
        executable.check(path)
    assert str(caught.value).startswith(f"{path} {complaint}")


def test_a_table_that_is_elsewhere_is_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(elf()[:32] + struct.pack("<Q", 1 << 60) + elf()[40:])
    path.chmod(0o755)
    executable.check(path)


def test_what_a_compiler_makes() -> None:
    """The tree's own programs: one of each."""
    tools = tree.obtain(Reporter(quiet=True))
    executable.check(tools.file("bin/busybox"))
    said = subprocess.run(
        ["ldd", tools.file("sbin/dropbear")], capture_output=True, text=True, check=False
    )
    assert "not a dynamic executable" not in said.stdout
    with pytest.raises(ConfigError, match="dynamically linked"):
        executable.check(tools.file("sbin/dropbear"))
