"""What `devmodel doctor` makes of hosts that are not ready."""

from pathlib import Path

import pytest

from devmodel.build import disk
from devmodel.build.emulator import Emulator
from devmodel.errors import HostNotReady
from devmodel.machine import accel, host
from devmodel.machine.config import MachineConfig
from devmodel.machine.host import Check, Verdict

GIB = 1 << 30
QEMU = Emulator(("qemu-system-x86_64",), (7, 2), "host")


def only(name: str) -> Check:
    (found,) = [check for check in host.check_all() if check.name == name]
    return found


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "kvm_obstacle", lambda _: "there is no /dev/kvm")


def test_no_qemu_is_one_to_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = only("qemu")
    assert check.verdict is Verdict.NOTE
    assert check.found == "none here that will do: 38 MB to fetch, some 5 s"


def test_what_is_to_be_fetched_and_from_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_MIRROR", "http://mirror.example/debian/")
    monkeypatch.setattr(host.emulator, "sound_host", lambda: QEMU)
    monkeypatch.setattr(host.fetch, "text", lambda _: b"")
    assert only("mirror").found == "http://mirror.example/debian, 163 MB to fetch"


def test_a_mirror_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_MIRROR", "http://127.0.0.1:9")
    check = only("mirror")
    assert check.verdict is Verdict.FAIL
    assert "could not be downloaded: Connection refused" in check.found


def test_a_mirror_that_nobody_needs_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr(host, "to_fetch", lambda: 0)
    assert only("mirror").verdict is Verdict.OK


def test_no_isolation_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tar").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    host.sandbox.choose.cache_clear()
    check = only("isolation")
    assert check.verdict is Verdict.FAIL
    assert check.found == "builds cannot be isolated here (no bwrap; no unshare; no proot)"
    assert check.remedy
    (tmp_path / "setsid").touch(mode=0o755)
    assert only("isolation").verdict is Verdict.NOTE


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(disk, "free", lambda _: GIB)
    check = only("disk")
    assert check.verdict is Verdict.FAIL
    assert check.found == f"1.0 GiB free in {tmp_path}/not/yet, 2.0 GiB needed"
    assert check.remedy == "make room (devmodel cache prune), or set DEVMODEL_CACHE to another disk"


def test_where_everything_is_less_disk_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "to_fetch", lambda: 0)
    monkeypatch.setattr(disk, "free", lambda _: GIB)
    assert only("disk").verdict is Verdict.OK


def test_a_build_without_disk_stops_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(disk, "free", lambda _: GIB)
    with pytest.raises(HostNotReady) as caught:
        disk.require(tmp_path, 6 * GIB, "building the kernel")
    assert str(caught.value) == (
        f"building the kernel needs 6.0 GiB in {tmp_path}, and 1.0 GiB are free; "
        "make room (devmodel cache prune), or set DEVMODEL_CACHE to another disk"
    )


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "available_memory", lambda _: GIB)
    assert only("memory").verdict is Verdict.FAIL
    with pytest.raises(HostNotReady) as caught:
        host.require_memory(MachineConfig.load("private"))
    assert str(caught.value) == (
        "the guest wants 1.5 GiB of memory, and 1.0 GiB are free; "
        "lower memory or hbm, or end something"
    )


def test_memory_is_read_from_meminfo() -> None:
    assert host.available_memory("MemTotal: 5 kB\nMemAvailable:   2048 kB\n") == 2 << 20
    assert host.available_memory("") == 0


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.sys, "version_info", (3, 9, 2, "final", 0))
    check = only("python")
    assert (check.verdict, check.found) == (Verdict.FAIL, "3.9.2")


def test_no_kvm_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.emulator, "sound_host", lambda: QEMU)
    check = only("kvm")
    assert check.verdict is Verdict.NOTE
    assert check.found == "there is no /dev/kvm; TCG is used, which is slower"


def test_every_failure_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DEVMODEL_MIRROR", raising=False)
    monkeypatch.setattr(disk, "free", lambda _: 0)
    monkeypatch.setattr(host, "available_memory", lambda _: 1)
    failed = [check for check in host.check_all() if check.verdict is Verdict.FAIL]
    assert {check.name for check in failed} == {"mirror", "isolation", "disk", "memory"}
    assert all(check.remedy for check in failed)
