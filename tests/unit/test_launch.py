"""A start that fails, with a QEMU that is none: one line each, and vm.json says why."""

import asyncio
import contextlib
import shlex
import sys
from pathlib import Path

import fake_qemu
import pytest

from devmodel.build.emulator import Emulator
from devmodel.build.guest import Built
from devmodel.build.kernel import Kernel
from devmodel.build.tools import HostTools
from devmodel.build.tree import Tree
from devmodel.cli import main as cli
from devmodel.errors import ConfigError, ExitCode, LaunchFailed
from devmodel.machine import launch, qmp, rundir
from devmodel.machine.accel import Accelerator
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.progress import Reporter

TCG = Accelerator("tcg", "for the test")


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))


def start(folder: Path, mode: str, *, gdb: bool = False) -> None:
    """Launch a VM without devices in a QEMU of that mode."""
    for name in ("config", "initrd"):
        (folder / name).touch()
    kernel = Kernel(
        image=folder / "bzImage",
        vmlinux=None,
        build=folder,
        config=folder / "config",
        release="7.2.0",
        identity="id",
        modules=(),
        tools=HostTools(),
        headers=folder,
    )
    program = Emulator((sys.executable, fake_qemu.__file__, mode), (8, 1), "host")
    tree = Tree(folder, None)  # type: ignore[arg-type]
    built = Built(kernel, None, [], folder / "initrd", program, tree)
    with contextlib.ExitStack() as stack:
        launch.launch(MachineConfig(name="a"), Options(gdb=gdb), TCG, built, Reporter(), stack)


def test_a_qemu_that_ends_is_the_reason_in_vm_json(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed) as caught:
        start(tmp_path, "ends")
    assert str(caught.value).startswith("QEMU ended with 1: fake QEMU: no such machine; ")
    ((folder, info),) = rundir.everything()
    assert (info.state, info.exit_code) == ("ended", ExitCode.LAUNCH)
    assert info.ending == str(caught.value)
    assert not (folder / "key").exists()


def test_a_port_that_another_has(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="rule 'tcp::80-:80'; is that port in use") as caught:
        start(tmp_path, "taken")
    assert "\n" not in str(caught.value)


def test_a_debugger_is_told_where_its_socket_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def far_enough(*_: object) -> None:
        raise LaunchFailed("far enough")

    monkeypatch.setattr(launch, "_await_ready", far_enough)
    with pytest.raises(LaunchFailed, match="no such machine"):
        start(tmp_path, "ends", gdb=True)
    # There is none yet.
    assert "waiting for a debugger" not in capsys.readouterr().err
    with pytest.raises(LaunchFailed, match="far enough"):
        start(tmp_path, "refuses", gdb=True)
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "waiting for a debugger" in x)
    socket = tmp_path / "state/vms/a/gdb"
    assert shlex.split(line.partition(": ")[2]) == [
        "gdb", "-ex", f"target remote {socket}", "-ex", "continue"
    ]  # fmt: skip


def test_a_path_that_is_too_long_for_a_socket_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / ("long" * 25)))
    with pytest.raises(ConfigError, match="is too long for a socket; set DEVMODEL_STATE"):
        start(tmp_path, "refuses", gdb=True)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("refuses", "QEMU does not do human-monitor-command: not today; logs are in "),
        ("quits", "QEMU ended with 1: fake QEMU: out of luck; logs are in "),
        ("silent", "QEMU does not answer to cont: nothing came for 0.5 s; logs are in "),
    ],
)
def test_a_qemu_that_fails_qmp_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, why: str
) -> None:
    monkeypatch.setattr(launch, "END_SECONDS", 2.0 if mode == "quits" else 0.1)
    if mode == "silent":
        monkeypatch.setattr(qmp, "REPLY_SECONDS", 0.5)
    with pytest.raises(LaunchFailed) as caught:
        start(tmp_path, mode)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    ((_, info),) = rundir.everything()
    assert info.ending == str(caught.value)


def test_a_supervisor_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "END_SECONDS", 0.1)
    monkeypatch.setattr(launch, "PORT_SECONDS", 0.1)

    async def late(_: object) -> int:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(qmp.Monitor, "ssh_port", late)
    with pytest.raises(LaunchFailed, match="the guest's processes did not answer in time; logs"):
        start(tmp_path, "refuses")


def test_the_log_begins_with_qemus_command_line(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with pytest.raises(LaunchFailed):
        start(tmp_path, "ends")
    capsysbinary.readouterr()
    assert cli.main(["logs", "a", "--qemu"]) == 0
    command, *said = capsysbinary.readouterr().out.decode().splitlines()
    words = shlex.split(command)
    assert words[:3] == [sys.executable, fake_qemu.__file__, "ends"]
    assert words[words.index("-kernel") + 1] == str(tmp_path / "bzImage")
    assert said == ["fake QEMU: no such machine"]
