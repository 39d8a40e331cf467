"""The guest image, as far as it can be told without booting it."""

from pathlib import Path

import pytest

from devmodel.build import image
from devmodel.errors import HostNotReady
from devmodel.machine import personal
from devmodel.machine.keys import KeyPair


def test_modules_are_those_that_kbuild_lists(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("lib/test_hmm.ko", "lib/old.ko", "lib/stale.ko"):
        (tmp_path / name).touch()
    (tmp_path / "modules.order").write_text("lib/test_hmm.o\nlib/old.ko\nlib/gone.o\n")
    assert image.built_modules(tmp_path) == [
        tmp_path / "lib/old.ko",
        tmp_path / "lib/test_hmm.ko",
    ]


def test_a_kernel_without_modules_has_none(tmp_path: Path) -> None:
    assert image.built_modules(tmp_path) == []


def test_a_program_comes_with_its_loader() -> None:
    names = [path.name for path in image.shared_libraries(Path("/bin/sh"))]
    assert any(name.startswith("ld-linux") for name in names)
    assert any(name.startswith("libc.so") for name in names)


def test_a_program_that_ldd_cannot_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match=r"ldd .* failed"):
        image.shared_libraries(tmp_path / "none")


def test_what_is_one_vms_own() -> None:
    login, host = KeyPair.generate(), KeyPair.generate()
    data = personal.pack(login, host, [("share0", "/mnt/a", True)], "guest-2")
    assert login.public in data
    assert host.dropbear in data
    # The guest must not get what opens it from outside, nor the host's side of anything.
    assert login.private not in data
    assert b"share0 /mnt/a ro\n" in data
    assert b"guest-2\n" in data


def test_a_key_in_dropbears_format_is_name_and_64_bytes() -> None:
    key = KeyPair.generate().dropbear
    assert key[:15] == b"\x00\x00\x00\x0bssh-ed25519"
    assert key[15:19] == (64).to_bytes(4, "big")
    assert len(key) == 15 + 4 + 64


def test_two_keys_differ() -> None:
    assert KeyPair.generate().private != KeyPair.generate().private
