"""What `devmodel doctor` makes of hosts that are not ready."""

from pathlib import Path

import pytest

from devmodel.build import disk
from devmodel.errors import HostNotReady
from devmodel.machine import accel, host
from devmodel.machine.config import MachineConfig
from devmodel.machine.host import Check, Verdict

GIB = 1 << 30


def only(name: str) -> Check:
    (found,) = [check for check in host.check_all() if check.name == name]
    return found


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "kvm_obstacle", lambda: "there is no /dev/kvm")


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "packages", lambda: ["bash", "no-such-package", "nor-this"])
    check = only("packages")
    assert check.verdict is Verdict.FAIL
    assert check.found == "missing: no-such-package nor-this"
    assert check.remedy == "apt-get install --no-install-recommends no-such-package nor-this"


def test_a_package_that_was_removed_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dpkg = tmp_path / "dpkg-query"
    dpkg.write_text("#!/bin/sh\necho 'gcc ii '\necho 'make rc '\nexit 1\n")
    dpkg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(host, "packages", lambda: ["gcc", "make", "bison"])
    assert host.missing_packages() == ["make", "bison"]


def test_elsewhere_than_on_debian_programs_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = only("packages")
    assert check.verdict is Verdict.FAIL
    assert "no gcc, make" in check.found


def test_no_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert only("qemu").verdict is Verdict.FAIL
    assert only("qemu").remedy == "apt-get install qemu-system-x86"


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(disk, "free", lambda _: 2 * GIB)
    check = only("disk")
    assert check.verdict is Verdict.FAIL
    assert check.found == f"2.0 GiB free in {tmp_path}/not/yet, 6.0 GiB needed"
    assert check.remedy == "make room (devmodel cache prune), or set DEVMODEL_CACHE to another disk"


def test_a_built_kernel_needs_less_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path))
    (tmp_path / "kernels/abc").mkdir(parents=True)
    (tmp_path / "kernels/abc/bzImage").touch()
    monkeypatch.setattr(disk, "free", lambda _: 2 * GIB)
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


def test_no_kvm_is_no_obstacle() -> None:
    check = only("kvm")
    assert check.verdict is Verdict.NOTE
    assert check.found == "there is no /dev/kvm; TCG is used, which is slower"


def test_every_failure_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(disk, "free", lambda _: 0)
    monkeypatch.setattr(host, "available_memory", lambda _: 1)
    failed = [check for check in host.check_all() if check.verdict is Verdict.FAIL]
    assert {check.name for check in failed} == {"packages", "qemu", "disk", "memory"}
    assert all(check.remedy for check in failed)


def test_the_package_list_is_a_list_of_names() -> None:
    names = host.packages()
    assert "qemu-system-x86" in names
    assert all(" " not in name and "#" not in name for name in names)
