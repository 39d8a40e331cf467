"""VMs as such: commands, files, several at once, and every way in which one can end."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devmodel.abi.registers import DeviceState
from devmodel.agent import registers
from devmodel.errors import (
    BootTimeout,
    CommandTimeout,
    ConfigError,
    CopyFailed,
    DeviceLost,
    GuestHang,
    GuestOops,
    GuestPanic,
    LaunchFailed,
    MachineLost,
)
from devmodel.machine import Machine, MachineConfig, machine
from devmodel.machine.launch import Options

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(120)]


def small(**changes: object) -> MachineConfig:
    """The smallest VM with a device."""
    data = {"name": "test", "memory": "256M", "devices": [{"model": "mirror"}], "restarts": 0}
    data.update(changes)
    return MachineConfig.parse(data, Path("/test.yaml"))


@pytest.fixture(scope="module")
def guest() -> Iterator[Machine]:
    """One for all the tests that do it no harm."""
    with Machine(small()) as guest:
        yield guest


@pytest.fixture
def victim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One to be broken. Its own end is not the test's failure."""
    monkeypatch.setattr(machine, "ALIVE_SECONDS", 2.0)
    monkeypatch.setattr(machine, "DMESG_SECONDS", 2.0)
    victim = Machine(small(name="victim"))
    victim.start()
    yield victim
    victim.close()


def test_a_command_has_an_exit_code_and_two_outputs(guest: Machine) -> None:
    result = guest.run("echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_words_are_not_looked_at_by_a_shell(guest: Machine) -> None:
    assert guest.run(["echo", "$HOME  'x'"]).stdout == "$HOME  'x'\n"


def test_a_death_by_signal_is_128_and_its_number(guest: Machine) -> None:
    assert guest.run(["sh", "-c", "kill -SEGV $$"]).exit_code == 128 + signal.SIGSEGV


def test_much_input_and_much_output_at_once(guest: Machine) -> None:
    data = bytes(range(256)) * 8192
    result = guest.run("tee /dev/stderr | md5sum", stdin=data, timeout=60)
    assert result.exit_code == 0
    assert guest.run(["md5sum"], stdin=data).stdout == result.stdout


def test_input_that_nobody_reads_is_no_error(guest: Machine) -> None:
    assert guest.run(["true"], stdin=bytes(4 << 20)).exit_code == 0


def test_a_command_may_leave_something_running(guest: Machine) -> None:
    assert guest.run("sleep 30 & echo started", timeout=10).stdout == "started\n"


def test_files_go_in_and_out_unchanged(guest: Machine, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "in").write_bytes(data)
    guest.put(tmp_path / "in", "/tmp/a file")
    guest.get("/tmp/a file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    with pytest.raises(CopyFailed, match="/tmp/none: no such file or folder"):
        guest.get("/tmp/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_goes_in_and_out_as_it_is(guest: Machine, tmp_path: Path) -> None:
    source = tmp_path / "a folder"
    (source / "deep").mkdir(parents=True)
    (source / "deep/program").write_text("#!/bin/sh\necho ran\n")
    (source / "deep/program").chmod(0o751)
    (source / "deep/link").symlink_to("program")
    guest.put(source, "/tmp")
    assert guest.run(["/tmp/a folder/deep/link"]).stdout == "ran\n"
    guest.put(source, "/tmp/renamed")
    (tmp_path / "back").mkdir()
    guest.get("/tmp/renamed", tmp_path / "back")
    arrived = tmp_path / "back/renamed/deep"
    assert (arrived / "program").stat().st_mode == (source / "deep/program").stat().st_mode
    assert (arrived / "link").readlink() == Path("program")


def test_a_guest_without_room_says_so(guest: Machine, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    guest.run("mkdir -p /small && mount -t tmpfs -o size=1m small /small").check()
    with pytest.raises(CopyFailed, match=r"the guest says: .*No space left on device") as caught:
        guest.put(tmp_path / "large", "/small")
    assert "\n" not in str(caught.value)
    assert guest.run("umount /small").exit_code == 0
    with pytest.raises(CopyFailed, match="no folder /none"):
        guest.put(tmp_path / "large", "/none/large")


def test_a_command_that_takes_too_long_is_killed(guest: Machine) -> None:
    with pytest.raises(CommandTimeout, match="did not end within 1 s") as caught:
        guest.run(["sleep", "1234"], timeout=1)
    # Where it was, for who wonders why.
    assert "Name:\tsleep" in caught.value.details
    assert "nanosleep" in caught.value.details
    assert guest.run("ps | grep '[s]leep 1234'").stdout == ""


def test_the_guest_is_alone_on_its_network(guest: Machine) -> None:
    addresses = guest.run(["ip", "-o", "addr"]).stdout
    assert "10.0.2.15/24" in addresses
    # 10.0.2.2 would be the host, on every port of its loopback.
    port = guest.shell._port
    assert guest.run(f"nc -w 2 10.0.2.2 {port} </dev/null").exit_code != 0


def test_the_driver_finds_its_device(guest: Machine) -> None:
    assert guest.run(["test", "-c", "/dev/devmodel0"]).exit_code == 0
    (device,) = guest.devices
    assert registers.state(device.region) is DeviceState.READY


def huge_pages(vm: Machine) -> str:
    """When the kernel uses them: "always [madvise] never"."""
    return vm.run(["cat", "/sys/kernel/mm/transparent_hugepage/enabled"]).check().stdout


def test_kernels_are_told_what_programs_take_for_granted(guest: Machine) -> None:
    """By themselves they turn huge pages off where memory is little, or use them always."""
    assert "[madvise]" in huge_pages(guest)


def test_the_kernels_command_line_goes_before() -> None:
    with Machine(small(memory="1G", append="transparent_hugepage=always")) as vm:
        assert "[always]" in huge_pages(vm)


def test_the_guests_clock_runs_as_fast_as_the_hosts(guest: Machine) -> None:
    """Also on a loaded host, where calibrating against emulated timers fails."""

    def uptime() -> tuple[float, float]:
        before = time.monotonic()
        guest_time = float(guest.run(["cut", "-d ", "-f1", "/proc/uptime"]).stdout)
        return guest_time, (before + time.monotonic()) / 2

    guest_begin, host_begin = uptime()
    guest.run(["sleep", "2"]).check()
    guest_end, host_end = uptime()
    assert guest_end - guest_begin == pytest.approx(host_end - host_begin, rel=0.15)


def test_nothing_of_a_vm_has_a_name(guest: Machine) -> None:
    """All memory and sockets are descriptors: nothing could be left behind."""
    maps = Path(f"/proc/{guest.qemu_pid}/maps").read_text()
    assert "/memfd:devmodel-ram-test (deleted)" in maps
    assert sorted(path.name for path in guest.folder.iterdir()) == [
        "agent0.log",
        "console.log",
        "key",
        "lock",
        "qemu.argv",
        "qemu.log",
        "vm.json",
    ]


def test_a_vm_that_ended_left_its_logs() -> None:
    with Machine(small(name="logs")) as vm:
        vm.run("echo '<6>a mark of mine' >/dev/kmsg")
        folder = vm.folder
    assert "a mark of mine" in vm.dmesg()
    assert "a mark of mine" in (folder / "dmesg").read_text()
    assert not (folder / "key").exists()


def test_shares(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    shares = [
        {"host": str(tmp_path), "guest": "/mnt/ro"},
        {"host": str(tmp_path), "guest": "/mnt/rw", "readonly": False},
    ]
    with Machine(small(shares=shares)) as vm:
        assert vm.run(["cat", "/mnt/ro/file"]).stdout == "from the host"
        assert vm.run("echo x >/mnt/ro/file").exit_code != 0
        assert vm.run("echo x >/mnt/rw/new").exit_code == 0
    assert (tmp_path / "new").read_text() == "x\n"


def test_two_vms_side_by_side() -> None:
    with Machine(small()) as first, Machine(small()) as second:
        assert first.name != second.name
        first.run("echo first >/tmp/who").check()
        assert second.run("cat /tmp/who").exit_code == 1
        for vm in (first, second):
            assert vm.run(["hostname"]).stdout == f"{vm.name}\n"


# --- endings


def test_a_panic(victim: Machine) -> None:
    with pytest.raises(GuestPanic, match="Kernel panic - not syncing: sysrq triggered crash"):
        victim.run("echo c >/proc/sysrq-trigger")


def test_a_panic_while_nobody_looks_is_found(victim: Machine) -> None:
    victim.run("(usleep 200000; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    assert victim.wait_change(30)
    with pytest.raises(GuestPanic):
        victim.check()


def test_an_oops_is_the_cause_of_its_panic(victim: Machine) -> None:
    line = "<1>BUG: kernel NULL pointer dereference, address: 0000000000000000"
    with pytest.raises(GuestOops, match="BUG: kernel NULL pointer dereference"):
        victim.run(f"echo '{line}' >/dev/kmsg; echo c >/proc/sysrq-trigger")


WARNING = "echo '<4>WARNING: CPU: 0 PID: 1 at mm/made_up.c:1' >/dev/kmsg"


def test_a_warning_fails_the_vm() -> None:
    with pytest.raises(GuestOops, match=r"complained: .*mm/made_up\.c"), Machine(small()) as vm:
        assert vm.run(WARNING).exit_code == 0


def test_a_warning_may_be_expected() -> None:
    with Machine(small()) as vm:
        vm.expect("mm/made_up.c")
        assert vm.run(WARNING).exit_code == 0


def test_a_hang(victim: Machine) -> None:
    os.kill(victim.qemu_pid, signal.SIGSTOP)
    with pytest.raises(GuestHang, match="the guest does not answer"):
        victim.run(["true"], timeout=1)


def test_a_lost_machine(victim: Machine) -> None:
    os.kill(victim.qemu_pid, signal.SIGKILL)
    with pytest.raises(MachineLost, match="QEMU was killed by signal 9"):
        victim.run(["true"])


def test_a_lost_device(victim: Machine) -> None:
    (device,) = victim.devices
    os.kill(device.pid, signal.SIGKILL)
    assert victim.wait_change(10)
    assert registers.state(device.region) is DeviceState.LOST
    with pytest.raises(DeviceLost, match="the agent of device 0 was killed by SIGKILL"):
        victim.check()
    # The guest goes on without it.
    assert victim.run(["true"]).exit_code == 0


def test_a_kernel_without_an_init_panics_while_booting() -> None:
    vm = Machine(small(), options=Options(append=("rdinit=/none", "init=/none")))
    with pytest.raises(GuestPanic, match="Kernel panic - not syncing"):
        vm.start()


def test_a_guest_that_is_never_ready() -> None:
    vm = Machine(small(boot_timeout=3), options=Options(append=("rdinit=/bin/cat",)))
    with pytest.raises(BootTimeout, match="not ready after 3 s"):
        vm.start()


def test_a_wrong_qemu_option_is_shown_in_qemus_words() -> None:
    vm = Machine(small(), options=Options(qemu=("-nonsense",)))
    with pytest.raises(LaunchFailed, match="-nonsense: invalid option"):
        vm.start()


def test_a_wrong_device_program_is_the_users_mistake(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import nothing_like_it\n")
    vm = Machine(small(devices=[{"model": "mirror", "programs": [str(file)]}]))
    with pytest.raises(ConfigError, match=r"programs: .*mine\.py: line 1: ModuleNotFoundError"):
        vm.start()
