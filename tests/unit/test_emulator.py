"""Which QEMU is taken."""

from pathlib import Path

import pytest

from devmodel.build import emulator
from devmodel.build.emulator import Emulator
from devmodel.errors import HostNotReady
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
UNPACKED = Emulator(("ld.so", "qemu"), (11, 1, 3), "tree")


@pytest.fixture(autouse=True)
def unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "_of_tree", lambda _: UNPACKED)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright", (7, 2, 22)),
        ("QEMU emulator version 10.0.0", (10, 0, 0)),
        ("QEMU emulator version", ()),
        ("", ()),
    ],
)
def test_a_version_is_numbers(text: str, version: tuple[int, ...]) -> None:
    assert emulator.parse_version(text) == version


def fake_qemu(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    program = folder / emulator.PROGRAM
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


def test_an_old_qemu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_qemu(tmp_path, monkeypatch, "QEMU emulator version 6.1.0")
    with pytest.raises(HostNotReady, match=r"is 6\.1\.0; install 7\.2 or newer, or leave it"):
        emulator.obtain("host", QUIET)
    assert emulator.obtain("auto", QUIET) is UNPACKED


def test_no_qemu_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match="no qemu-system-x86_64; install it, or leave it"):
        emulator.obtain("host", QUIET)
    assert emulator.obtain("auto", QUIET) is UNPACKED


def test_this_machines_own_unless_another_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, "QEMU emulator version 8.1.0")
    assert emulator.obtain("auto", QUIET).origin == "host"
    # Sound enough for whoever asks for it.
    fake_qemu(tmp_path, monkeypatch, "QEMU emulator version 7.2.22")
    assert emulator.obtain("auto", QUIET) is UNPACKED
    assert emulator.obtain("host", QUIET).version == (7, 2, 22)
    assert emulator.obtain("tree", QUIET) is UNPACKED
    mine = emulator.obtain(str(tmp_path / emulator.PROGRAM), QUIET)
    assert mine.argv == (str(tmp_path / emulator.PROGRAM),)
    with pytest.raises(HostNotReady, match="does not run"):
        emulator.obtain("/no/such/qemu", QUIET)
