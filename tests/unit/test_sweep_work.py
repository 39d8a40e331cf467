"""Cells in a guest: one after the other, each on a device like new; what a guest's end costs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from fake_guest import CompareMachine, install_guest

from devmodel import paths
from devmodel.build import cache
from devmodel.build.kernel import Kernel
from devmodel.build.tools import HostTools
from devmodel.errors import GuestOops, GuestPanic, LaunchFailed, MachineLost
from devmodel.experiment.config import Experiment
from devmodel.experiment.sweep import grid, identity, work
from devmodel.experiment.sweep.grid import Cell
from devmodel.experiment.sweep.record import Outcome
from devmodel.experiment.sweep.store import Store
from devmodel.experiment.sweep.work import Task
from devmodel.machine.shell import Result as Done


class SweepMachine(CompareMachine):
    """One that is started and closed by hand."""

    boots: ClassVar[list[str]] = []
    ends: ClassVar[list[str]] = []
    kills: ClassVar[list[str]] = []
    splats: ClassVar[list[BaseException | None]] = []

    def start(self) -> None:
        self.boots.append(self.model)
        self.info = replace(self.info, qemu="10.0.2")
        if isinstance(output := self.outputs.get(self.model), BaseException):
            raise output

    def check(self) -> None:
        if self.splats and (error := self.splats.pop(0)) is not None:
            raise error

    def close(self, cause: BaseException | None = None) -> None:
        self.ends.append(str(cause or ""))

    def kill(self) -> None:
        self.kills.append(self.model)


class FakeTools(HostTools):
    """Those of a kernel, and the tree."""

    compiler = "gcc 12"
    lock = SimpleNamespace(digest="tools")


KERNEL = Kernel(
    image=Path("/k/bzImage"),
    vmlinux=None,
    build=Path("/k/build"),
    config=Path("/k/config"),
    release="7.2.0",
    identity="kernel",
    modules=(),
    tools=FakeTools(),
    headers=Path("/k/build"),
)
BUILT = SimpleNamespace(
    kernel=KERNEL, tools=FakeTools(), emulator=SimpleNamespace(version=(10, 0, 2))
)


@pytest.fixture(autouse=True)
def guests(monkeypatch: pytest.MonkeyPatch) -> None:
    install_guest(monkeypatch)
    monkeypatch.setattr(work, "Machine", SweepMachine)
    monkeypatch.setattr(work.guest, "build", lambda *_, **__: BUILT)
    for kept in (SweepMachine.boots, SweepMachine.ends, SweepMachine.kills, SweepMachine.splats):
        kept.clear()


def cells(folder: Path, text: str) -> list[Cell]:
    path = folder / "mine.yaml"
    path.write_text(text)
    return grid.cells(Experiment.load(path))


def task(folder: Path, found: list[Cell], **changes: Any) -> Task:
    key = identity.keys(identity.of_machine(found[0].machine, KERNEL, FakeTools()), None)  # type: ignore[arg-type]
    (folder / "cells").mkdir(exist_ok=True)
    whole = Task(tuple((key(cell), cell) for cell in found), folder / "cells", None)
    return replace(whole, **changes)


def never() -> bool:
    return False


THREE = """
models: [private]
sweep: {seeds: 3}
workloads: [{name: mine, command: [mine, "{seed}"]}]
"""


def test_one_guest_for_all_and_a_reset_before_each(tmp_path: Path) -> None:
    found = work.work(task(tmp_path, cells(tmp_path, THREE)), never)
    assert [record.outcome for _, record in found] == [Outcome.RIGHT] * 3
    assert [words for _, words in SweepMachine.log] == ["test", *["dm-reset", "mine"] * 3]
    assert SweepMachine.words == [["mine", "1"], ["mine", "2"], ["mine", "3"]]
    assert (SweepMachine.boots, SweepMachine.ends) == (["private"], [""])
    _, record = found[0]
    assert (record.exit_code, record.result["wall_seconds"]) == (0, 0.5)
    where = record.where
    assert (where.kernel_release, where.qemu, where.accelerator) == ("7.2.0", "10.0.2", "tcg")
    assert record.began > 0
    assert {key: Store(tmp_path / "cells").get(key) for key, _ in found} == dict(found)


def test_what_is_finished_boots_nothing(tmp_path: Path) -> None:
    wanted = task(tmp_path, cells(tmp_path, THREE))
    first = work.work(wanted, never)
    assert work.work(wanted, never) == first
    assert SweepMachine.boots == ["private"]


def test_a_guest_that_does_not_survive_a_cell_is_followed_by_another(tmp_path: Path) -> None:
    SweepMachine.odd[("private", "mine")] = [
        GuestPanic("it panicked"),
        Done(3, "", "no\n"),
        Done(0, "", ""),
    ]
    found = work.work(task(tmp_path, cells(tmp_path, THREE)), never)
    assert [(r.outcome, r.code) for _, r in found] == [
        (Outcome.PANIC, 250),
        (Outcome.WRONG, 1),
        (Outcome.RIGHT, 0),
    ]
    assert found[1][1].why == "ended with 3, not 0: no"
    assert SweepMachine.boots == ["private"] * 2
    assert SweepMachine.ends == ["it panicked", ""]


def test_what_the_kernel_complains_of_is_the_cells_doing(tmp_path: Path) -> None:
    SweepMachine.splats[:] = [None, GuestOops("the guest's kernel complained: BUG")]
    found = work.work(task(tmp_path, cells(tmp_path, THREE)), never)
    assert [record.outcome for _, record in found] == [
        Outcome.RIGHT,
        Outcome.OOPS,
        Outcome.RIGHT,
    ]
    assert len(SweepMachine.boots) == 2


@pytest.mark.parametrize("error", [LaunchFailed("no QEMU"), GuestPanic("it died on its way up")])
def test_a_guest_that_does_not_boot_is_tried_once_for_all(tmp_path: Path, error: Exception) -> None:
    SweepMachine.outputs["private"] = error
    wanted = task(tmp_path, cells(tmp_path, THREE))
    found = work.work(wanted, never)
    assert [record.outcome for _, record in found] == [Outcome.NOT_STARTED] * 3
    assert len(SweepMachine.boots) == 1
    # No result: with a guest that boots they are run.
    SweepMachine.outputs.clear()
    assert [r.outcome for _, r in work.work(wanted, never)] == [Outcome.RIGHT] * 3


def test_a_device_that_the_driver_does_not_take(tmp_path: Path) -> None:
    SweepMachine.odd[("private", "test")] = Done(1, "", "")
    SweepMachine.odd[("private", "dmesg")] = Done(0, "devmodel: too old\n", "")
    found = work.work(task(tmp_path, cells(tmp_path, THREE)), never)
    assert {record.why for _, record in found} == {"no /dev/devmodel0: devmodel: too old"}
    assert SweepMachine.ends == ["no /dev/devmodel0: devmodel: too old"]


def test_what_was_made_to_end_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU is killed, and the cell's guest is gone: that says nothing of the cell."""
    over: list[bool] = []

    class Killed(SweepMachine):
        def run(self, command: Any, **more: Any) -> Done:
            if "2" in str(command):
                over.append(True)
                while not SweepMachine.kills:
                    pass
                raise MachineLost("QEMU ended")
            return super().run(command, **more)

    monkeypatch.setattr(work, "Machine", Killed)
    wanted = task(tmp_path, cells(tmp_path, THREE))
    found = work.work(wanted, lambda: bool(over))
    assert [record.outcome for _, record in found] == [Outcome.RIGHT]
    assert len(Store(wanted.store).finished()) == 1


def test_a_store_that_this_machine_does_not_see(tmp_path: Path) -> None:
    wanted = task(tmp_path, cells(tmp_path, THREE), store=tmp_path / "elsewhere")
    assert len(work.work(wanted, never)) == 3
    assert not (tmp_path / "elsewhere").exists()


def test_another_file_than_the_sweeps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("one")
    text = "models: [private]\nworkloads: [{name: m, command: [m], files: [input]}]"
    wanted = task(tmp_path, cells(tmp_path, text))
    (tmp_path / "input").write_text("two")
    ((_, record),) = work.work(wanted, never)
    assert record.outcome is Outcome.NOT_STARTED
    assert "has another devmodel, kernel or file than the sweep; have them the same" in record.why
    assert SweepMachine.boots == []


# --- keys


WHOLE = """
models: [private]
programs: [triple.py]
sweep: {seeds: [1]}
workloads:
  - name: mine
    program: mine
    args: ["{seed}"]
    files: [input]
    expect: {stdout_file: wanted}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("mine", "input", "wanted", "triple.py"):
        (tmp_path / name).write_text(f"#!{name}\n")
    return tmp_path


def key(folder: Path, text: str = WHOLE, kernel: Kernel = KERNEL) -> str:
    (cell,) = cells(folder, text)
    machine = identity.of_machine(cell.machine, kernel, FakeTools())  # type: ignore[arg-type]
    return identity.keys(machine, None)(cell)


def test_a_key_stays_where_nothing_changes(files: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(files, elsewhere)
    assert key(files) == key(elsewhere)
    assert key(files) == key(files, f"show: [device_faults]\n{WHOLE}")
    assert key(files) == key(files, WHOLE.replace("name: mine", "name: mine\n    what: words"))


CHANGES: dict[str, Callable[[str], str]] = {
    "a word": lambda text: text.replace('"{seed}"', '"{seed}", more'),
    "a seed": lambda text: text.replace("[1]", "[2]"),
    "a size that nothing uses": lambda text: text.replace("[1]", "[1], sizes: [4K]"),
    "a model": lambda text: text.replace("[private]", "[coherent]"),
    "a policy": lambda text: text.replace("[1]", "[1], policies: [on_touch]"),
    "no file": lambda text: text.replace("files: [input]", "files: []"),
    "its name": lambda text: text.replace("files: [input]", "files: [{host: input, guest: other}]"),
    "a time limit": lambda text: f"timeout: 5\n{text}",
    "what is expected": lambda text: text.replace("{stdout", "{exit_code: 1, stdout"),
    "the name of the workload": lambda text: text.replace("name: mine", "name: other"),
    "no device program": lambda text: text.replace("[triple.py]", "[]"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_key_changes_with_the_experiment(files: Path, change: Callable[[str], str]) -> None:
    assert change(WHOLE) != WHOLE
    assert key(files, change(WHOLE)) != key(files)


@pytest.mark.parametrize("name", ["mine", "input", "wanted", "triple.py"])
def test_a_key_changes_with_the_bytes_of_a_file(files: Path, name: str) -> None:
    before = key(files)
    (files / name).write_text("#!other\n")
    assert key(files) != before


def test_a_key_changes_with_whether_a_program_may_be_run(files: Path) -> None:
    before = key(files)
    (files / "mine").chmod(0o755)
    assert key(files) != before


def test_a_key_changes_with_the_kernel(files: Path) -> None:
    assert key(files, kernel=replace(KERNEL, identity="other")) != key(files)


@pytest.mark.parametrize("place", ["device/mmu.py", "abi/rings.py", "agent/loop.py"])
def test_a_key_changes_with_the_device(
    files: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(files)
    whole = cache.hash_files

    def changed(paths_: Any, base: Path) -> str:
        # As if that one was another.
        named = paths.PACKAGE / place in paths_
        return whole(paths_, base) + ("!" if named else "")

    monkeypatch.setattr(cache, "hash_files", changed)
    assert key(files) != before


@pytest.mark.parametrize("place", ["driver/fault.c", "image/init", "lib/libdevmodel.c"])
def test_a_key_changes_with_the_guest(
    files: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(files)
    whole = cache.hash_files
    monkeypatch.setattr(
        cache,
        "hash_files",
        lambda found, base: whole(found, base) + ("!" if paths.GUEST / place in found else ""),
    )
    assert key(files) != before
