"""What the cache keeps, what it lets go, and looking for newer packages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_archive import FakeArchive, Handler
from test_stock import Notes, add, made_up, publish  # noqa: F401

from devmodel import paths
from devmodel.build import cache, debs, emulator, guest, inventory, kernel, lock, stock, tree
from devmodel.build.config import KernelConfig
from devmodel.build.lock import Request
from devmodel.cli import main as cli
from devmodel.errors import HostNotReady
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
SECONDS = 20.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))


def entry(kind: str, name: str) -> Path:
    path = cache.folder(kind, name)
    path.mkdir(parents=True)
    (path / "file").write_bytes(bytes(100_000))
    return path


def test_what_nothing_uses_goes_and_what_something_does_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current, old = entry("kernels", "current"), entry("kernels", "old")
    interrupted, packed = entry("trees", ".half.tmp"), entry("debs", "x")
    monkeypatch.setattr(inventory, "used", lambda: {current: "kernel 7.2"})
    assert cli.main(["cache", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["entries"]}
    assert found["kernels/current"]["why"] == "kernel 7.2"
    assert found["kernels/old"]["why"] == ""
    assert found["kernels/old"]["bytes"] >= 100_000
    assert cli.main(["cache"]) == 0
    assert "nothing: devmodel cache prune" in capsys.readouterr().out
    assert cli.main(["cache", "prune", "--json"]) == 0
    gone = [row["name"] for row in json.loads(capsys.readouterr().out)["removed"]]
    assert sorted(gone) == ["debs", "kernels/old", "trees/.half.tmp"]
    assert current.exists()
    assert not old.exists() and not interrupted.exists() and not packed.exists()


def test_all_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    current = entry("kernels", "current")
    monkeypatch.setattr(inventory, "used", lambda: {current: "kernel 7.2"})
    assert cli.main(["cache", "prune", "--all"]) == 0
    assert not current.exists()


def test_what_another_process_builds_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "used", dict)
    building = entry("trees", ".tools-1.tmp")
    with cache.locked(cache.folder("trees", "tools-1")):
        assert cli.main(["cache", "prune"]) == 0
        assert building.exists()
    assert cli.main(["cache", "prune"]) == 0
    assert not building.exists()


def test_an_empty_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache"]) == 0
    assert cli.main(["cache", "prune"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("made_up")
def test_the_kernel_of_the_lock_is_used_and_the_one_before_is_not(
    made_up: FakeArchive,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FakeTree:
        compiler = "gcc"
        lock = type("L", (), {"digest": "d"})

    monkeypatch.setattr(kernel.tree, "obtain", lambda _: FakeTree())
    monkeypatch.setattr(kernel.tree, "find", FakeTree)
    add(made_up, "7.2.9")
    publish(made_up)
    old = kernel.obtain(KernelConfig(), QUIET).image.parent
    assert inventory.used()[old] == "kernel 7.2"
    add(made_up, "7.2.12")
    publish(made_up)
    lock.obtain(stock.request(None), anew=True)
    new = kernel.obtain(KernelConfig(), QUIET).image.parent
    assert new != old
    assert old not in inventory.used()
    assert new in inventory.used()


# --- devmodel build --update


@pytest.fixture
def only_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Request("tools", (), tree.SUITES, lambda _: [])
    monkeypatch.setattr(tree, "REQUEST", nothing)
    monkeypatch.setattr(emulator, "comes_unpacked", lambda _: False)


@pytest.mark.usefixtures("only_the_kernel")
def test_an_update_says_what_is_newer(made_up: FakeArchive) -> None:  # noqa: F811
    add(made_up, "7.2.9")
    publish(made_up)
    kernel.obtain(KernelConfig(), QUIET)
    notes = Notes()
    guest.update(KernelConfig(), notes)
    assert notes.said[-1] == "kernel: nothing newer"
    add(made_up, "7.2.12")
    publish(made_up)
    guest.update(KernelConfig(), notes)
    assert notes.said[-1].startswith("kernel: 6 of 6 packages are new: linux-base-7.2.12+deb13-")
    assert kernel.obtain(KernelConfig(), QUIET).release.startswith("7.2.12+")


@pytest.mark.usefixtures("only_the_kernel")
def test_an_update_that_fails_half_way_leaves_what_works(
    made_up: FakeArchive,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(made_up, "7.2.9")
    publish(made_up)
    first = kernel.obtain(KernelConfig(), QUIET)
    add(made_up, "7.2.12")
    publish(made_up)
    gone = staticmethod(lambda name: 0 if name.startswith("linux-modules") else None)
    monkeypatch.setattr(Handler, "broken", gone)
    with pytest.raises(HostNotReady):
        guest.update(KernelConfig(), QUIET)
    assert kernel.obtain(KernelConfig(), QUIET) == first


# --- interruptions


def test_a_full_disk_half_way_is_one_line_and_leaves_no_entry(
    made_up: FakeArchive,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    unpack = debs.unpack

    def full(*arguments: object) -> None:
        unpack(*arguments)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device", "/there")

    monkeypatch.setattr(debs, "unpack", full)
    with pytest.raises(HostNotReady, match="/there: No space left on device; make room"):
        kernel.obtain(KernelConfig(), QUIET)
    assert kernel.find(KernelConfig()) is None
    monkeypatch.setattr(debs, "unpack", unpack)
    assert kernel.obtain(KernelConfig(), QUIET).release.startswith("7.2.12+")


BUILDER = """
import time
from pathlib import Path
from devmodel.build import cache

def build(target):
    (target / "half").touch()
    print("begun", flush=True)
    time.sleep(60)

cache.obtain("things", "one", build)
"""


def test_a_build_that_was_killed_is_not_taken_for_whole() -> None:
    builder = subprocess.Popen([sys.executable, "-c", BUILDER], stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "begun\n"
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    builder.stdout.close()

    def build(target: Path) -> None:
        assert list(target.iterdir()) == []
        (target / "whole").touch()

    begin = time.monotonic()
    found = cache.obtain("things", "one", build)
    assert time.monotonic() - begin < SECONDS
    assert [path.name for path in found.iterdir()] == ["whole"]
    assert paths.cache() in found.parents
