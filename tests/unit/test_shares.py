"""Folders of this machine's in a guest: what QEMU and the servers are told, and who sees what."""

import argparse
from pathlib import Path

import pytest

from devmodel.build.root import RootConfig
from devmodel.cli import options
from devmodel.errors import ConfigError
from devmodel.machine import shares
from devmodel.machine.config import MachineConfig

PLACE = Path("/x/machine.yaml")


def of(data: dict[str, object], root: Path | None = None) -> tuple[shares.Share, ...]:
    config = MachineConfig.parse(data, PLACE)
    return shares.of_machine(config.root, root, config.shares)


def test_shares_are_read_only_unless_said_otherwise() -> None:
    found = of(
        {
            "shares": [
                {"host": "a,b", "guest": "/a"},
                {"host": "b", "guest": "/b c", "readonly": False},
            ]
        }
    )
    line = shares.nine_p(found)
    local = "security_model=none,multidevs=remap"
    assert line[1] == f"local,id=share0,path=/x/a,,b,{local},readonly=on"
    assert line[5] == f"local,id=share1,path=/x/b,{local}"
    assert [share.line for share in found] == ["share0 ro /a", "share1 rw /b c"]
    assert "--readonly" in shares.server_options(found[0])
    assert "--readonly" not in shares.server_options(found[1])
    assert shares.virtiofs(found, (7, 8))[4:6] == ["-chardev", "socket,id=share1,fd=8"]


def test_a_root_is_read_only_and_comes_first() -> None:
    found = of({"root": "host", "shares": [{"host": "a", "guest": "/a"}]}, Path("/"))
    assert [share.line for share in found] == ["root ro /", "share0 ro /a"]
    host = shares.server_options(found[0])
    assert {"--readonly", "--no-announce-submounts"} <= set(host)
    assert "--translate-uid" not in host
    # A Debian was unpacked by whoever runs this, and is root's in the guest.
    (debian,) = of({"root": "debian"}, Path("/cache/roots/debian-1"))
    assert "--translate-uid" in shares.server_options(debian)


def test_a_root_by_its_name_and_by_its_packages() -> None:
    assert MachineConfig.parse({}, PLACE).root.name == "initramfs"
    for name in ("initramfs", "host", "debian"):
        config = MachineConfig.parse({"root": name}, PLACE)
        assert config.root.name == name
        assert MachineConfig.model_validate_json(config.model_dump_json()) == config
    found = MachineConfig.parse({"root": {"debian": ["numactl", "gdb", "gdb"]}}, PLACE)
    assert found.root == RootConfig(debian=("gdb", "numactl"))


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("hots", "root: 'hots' is no root; use one of initramfs, host, debian"),
        ({"debain": []}, "root.debain: unknown key; did you mean debian?"),
        ({"debian": ["a b"]}, "root.debian: 'a b' is no package; write names like python3"),
        ({"debian": [], "host": True}, "root: host and debian exclude each other; remove one"),
    ],
)
def test_a_mistake_in_a_root_is_one_line(root: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig.parse({"root": root}, PLACE)
    assert str(caught.value) == f"{PLACE}: {said}"


def given(**words: list[str]) -> argparse.Namespace:
    return argparse.Namespace(**words)


def test_folders_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b=c,d").mkdir()
    monkeypatch.chdir(tmp_path)
    (one, two) = options.folders(given(rodir=["./a b=c,d"], rwdir=["../" + tmp_path.name + "=/w"]))
    assert (one.host, str(one.guest), one.readonly) == (
        tmp_path / "a b=c,d",
        f"{tmp_path}/a b=c,d",
        True,
    )
    assert (two.host, str(two.guest), two.readonly) == (tmp_path, "/w", False)


@pytest.mark.parametrize("name", ["none", "none=/w", "line\nbreak"])
def test_a_folder_that_cannot_be_shared_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "line\nbreak").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^--rwdir: "):
        options.folders(given(rwdir=[name]))


def test_a_command_begins_where_the_person_is_if_the_guest_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "it's"
    here.mkdir()
    monkeypatch.chdir(here)
    share = {"host": str(tmp_path), "guest": str(tmp_path)}
    seen = MachineConfig.parse({"shares": [share]}, PLACE)
    elsewhere = MachineConfig.parse({"shares": [{**share, "guest": "/mnt"}]}, PLACE)
    host = MachineConfig.parse({"root": "host"}, PLACE)
    assert options.begin(["a", "b c"], seen).endswith("it'\"'\"'s'\na 'b c'")
    assert options.begin(["a", "b c"], elsewhere) == "a 'b c'"
    # The guest's /tmp is its own.
    assert host.sees(Path("/usr/lib")) and not host.sees(Path("/tmp/x"))
