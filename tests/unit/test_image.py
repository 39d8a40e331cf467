"""The guest image, as far as it can be told without booting it."""

import io
import sys
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devmodel.build import image
from devmodel.build.tree import Tree
from devmodel.errors import BuildFailed
from devmodel.machine import personal
from devmodel.machine.keys import KeyPair
from devmodel.machine.shares import Share


@pytest.fixture
def host_as_tree(monkeypatch: pytest.MonkeyPatch) -> Tree:
    """This machine in place of the tools tree."""
    monkeypatch.setattr(Tree, "native", lambda _, program: ["/lib64/ld-linux-x86-64.so.2", program])
    return Tree(Path("/"), None)  # type: ignore[arg-type]


def test_a_program_comes_with_its_loader(host_as_tree: Tree) -> None:
    found = image.shared_libraries(host_as_tree, sys.executable)
    assert found["lib64/ld-linux-x86-64.so.2"].exists()
    assert found["lib/libc.so.6"].exists()


def test_a_program_that_the_loader_cannot_read_is_said(host_as_tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="libraries cannot be told"):
        image.shared_libraries(host_as_tree, str(tmp_path / "none"))


def test_what_is_one_vms_own() -> None:
    login, host = KeyPair.generate(), KeyPair.generate()
    data = personal.pack(
        login, host, [Share("share0", Path("/a"), "/mnt/a b")], "guest-2", kind="9p"
    )
    assert login.public in data
    assert host.dropbear in data
    # The guest must not get what opens it from outside, nor the host's side of anything.
    assert login.private not in data
    assert b"9p share0 ro /mnt/a b\n" in data
    assert b"guest-2\n" in data


def test_a_key_in_dropbears_format_is_name_and_64_bytes() -> None:
    key = KeyPair.generate().dropbear
    assert key[:15] == b"\x00\x00\x00\x0bssh-ed25519"
    assert key[15:19] == (64).to_bytes(4, "big")
    assert len(key) == 15 + 4 + 64


def test_two_keys_differ() -> None:
    # Not by `private` itself: that text has random numbers in it besides the key.
    keys = [KeyPair.generate() for _ in range(2)]
    for part in ("public", "dropbear"):
        assert len({getattr(key, part) for key in keys}) == 2
    seeds = {key.dropbear[19:51] for key in keys}
    assert len(seeds) == 2


def test_the_three_forms_are_one_key() -> None:
    pair = KeyPair.generate()
    private = paramiko.Ed25519Key.from_private_key(io.StringIO(pair.private.decode()))
    kind, text = pair.public.decode().split()
    assert (kind, text) == ("ssh-ed25519", private.get_base64())
    signing = Ed25519PrivateKey.from_private_bytes(pair.dropbear[19:51])
    point = signing.public_key().public_bytes_raw()
    assert pair.dropbear[51:] == point == private.asbytes()[-32:]
