"""Folders of VMs: names, locks, and what is left by those that were killed."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.errors import ConfigError, ExitCode, GuestPanic, HostNotReady
from devmodel.machine import rundir
from devmodel.machine.rundir import RunDir, VmInfo


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path))


def claim(name: str, **changes: object) -> RunDir:
    folder = RunDir.claim(name)
    folder.write_key(b"secret")
    info = VmInfo(folder.name, os.getpid(), "running", keeper=True)
    folder.write(replace(info, **changes))  # type: ignore[arg-type]
    return folder


def test_a_second_vm_of_a_name_gets_a_number() -> None:
    first, second = claim("a"), claim("a")
    assert (first.name, second.name) == ("a", "a-2")
    first.close()
    assert claim("a").name == "a"


def test_the_logs_of_the_last_one_are_removed() -> None:
    folder = claim("a")
    (folder.path / "console.log").write_text("old")
    folder.close()
    assert (folder.path / "console.log").exists()
    assert not (claim("a").path / "console.log").exists()


def test_a_key_goes_at_the_end() -> None:
    folder = claim("a")
    key = folder.path / "key"
    assert key.read_bytes() == b"secret"
    folder.close()
    assert not key.exists()


@pytest.fixture
def no_umask() -> Iterator[None]:
    """New files are what they are asked to be."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_a_vm_is_its_owners_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "new" / "state"))
    folder = claim("a")
    for path in (folder.path, paths.vms(), paths.state()):
        assert mode(path) == 0o700
    assert {path.name: mode(path) for path in folder.path.iterdir()} == dict.fromkeys(
        ("key", "lock", "vm.json"), 0o600
    )
    folder.close()


@pytest.mark.usefixtures("no_umask")
def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old = tmp_path / "vms" / "a"
    old.mkdir(parents=True)
    for name in ("lock", "key", "vm.json"):
        (old / name).touch(0o666)
    folder = claim("a")
    assert (mode(old.parent), mode(old)) == (0o700, 0o700)
    assert {mode(path) for path in old.iterdir()} == {0o600}
    # The user's own folder is not ours to change.
    assert mode(tmp_path) == 0o755
    folder.close()


def test_no_folder_for_a_vm_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vms").touch()
    line = f"{tmp_path}/vms: Not a directory; set DEVMODEL_STATE to another folder"
    with pytest.raises(HostNotReady) as caught:
        list(rundir.everything())
    assert str(caught.value) == line
    (tmp_path / "vms").unlink()
    (tmp_path / "vms" / "a" / "mine").mkdir(parents=True)
    with pytest.raises(HostNotReady, match=rf"{tmp_path}/vms/a/mine: .*; set DEVMODEL_STATE"):
        RunDir.claim("a")


def test_a_vm_whose_supervisor_was_killed_is_swept() -> None:
    folder = claim("a")
    # What a SIGKILL leaves: the files, and a lock that nobody holds.
    folder._lock.close()
    ((path, info),) = rundir.everything()
    assert (info.state, info.ending) == ("ended", "the process that held it is gone")
    assert not (path / "key").exists()


def test_a_vm_that_ends_while_it_is_looked_at_keeps_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = claim("a")
    lock, info = rundir._try_lock, rundir.read_info(folder.path)
    assert info is not None

    def late(path: Path) -> object:
        folder.write(info.ended(GuestPanic("it panicked")))
        folder.close()
        return lock(path)

    monkeypatch.setattr(rundir, "_try_lock", late)
    ((_, found),) = rundir.everything()
    assert (found.ending, found.exit_code) == ("it panicked", ExitCode.PANIC)
    assert rundir.read_info(folder.path) == found


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (None, ""),
        (GuestPanic("it\n panicked", hint="see log"), "it panicked; see log"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(143), "stopped"),
        (AssertionError("a\nb"), "AssertionError: a b"),
    ],
)
def test_a_cause_is_one_line(cause: BaseException | None, words: str) -> None:
    assert VmInfo("a", 1, "running").ended(cause).ending == words


def test_a_running_vm_is_left_alone() -> None:
    folder = claim("a")
    ((path, info),) = rundir.everything()
    assert info.state == "running"
    assert (path / "key").exists()
    folder.close()


def test_nonsense_is_no_vm(tmp_path: Path) -> None:
    (tmp_path / "vms" / "x").mkdir(parents=True)
    (tmp_path / "vms" / "x" / "vm.json").write_text("{")
    assert list(rundir.everything()) == []


def test_what_another_version_wrote_is_read() -> None:
    folder = claim("a", kernel="7.2")
    path = folder.path / "vm.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "a_field_of_tomorrow": 1}))
    info = rundir.read_info(folder.path)
    assert info is not None
    assert info.kernel == "7.2"
    path.write_text("[]")
    assert rundir.read_info(folder.path) is None
    folder.close()


def test_the_only_one_needs_no_name() -> None:
    with pytest.raises(ConfigError, match="no VM is running"):
        rundir.running(None)
    first = claim("a")
    # Those of tests and of `devmodel run` are found by name only.
    hidden = claim("hidden", keeper=False)
    assert rundir.running(None)[1].name == "a"
    assert rundir.running("hidden")[1].name == "hidden"
    second = claim("b")
    with pytest.raises(ConfigError, match="more than one VM is running; name one of a, b"):
        rundir.running(None)
    with pytest.raises(ConfigError, match="no running VM is called c; running: a, b, hidden"):
        rundir.running("c")
    for folder in (first, hidden, second):
        folder.close()
