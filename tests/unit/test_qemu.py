"""QEMU's command line, QMP's answers, and the choice of accelerator."""

import itertools
import platform
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import pytest

from devmodel import link
from devmodel.build import emulator
from devmodel.build.emulator import Emulator
from devmodel.errors import HostNotReady, LaunchFailed
from devmodel.link.memory import Window
from devmodel.machine import accel, qemu, qmp, tsc
from devmodel.machine.accel import Accelerator
from devmodel.machine.config import Accel, MachineConfig, Policy
from devmodel.machine.qemu import Boot, Descriptors

TCG = Accelerator("tcg", "for the test")
QEMU = Emulator(("qemu-system-x86_64",), (7, 2), "host")
BOOT = Boot(QEMU, Path("/k/bzImage"), Path("/k/initrd"), ("slub_debug=P",), None, ("-d", "int"))
FDS = Descriptors(ram=10, qmp=11, console=12)


def live(config: MachineConfig, accelerator: Accelerator = TCG, boot: Boot = BOOT) -> list[str]:
    """The line of a VM whose RAM is descriptor 10, and those of its devices whatever they are."""
    ram = Window(fd=FDS.ram, offset=0, size=config.memory)
    with ExitStack() as stack:
        endpoints = [
            stack.enter_context(link.DEFAULT.endpoint(number, device, ram))
            for number, device in enumerate(config.devices)
        ]
        return qemu.live(config, accelerator, boot, FDS, link.DEFAULT, endpoints)


def pairs(line: list[str]) -> list[tuple[str, str]]:
    """Options with their values."""
    return list(itertools.pairwise(line))


def test_the_line_of_two_devices() -> None:
    config = MachineConfig.load("two-devices")
    line = live(config)
    options = pairs(line)
    assert ("-kernel", "/k/bzImage") in options
    assert ("-m", "1024M") in options
    assert (
        "-object",
        "memory-backend-file,id=ram0,size=536870912,share=on,mem-path=/proc/self/fd/10",
    ) in options
    # Its second half, in the same file.
    assert (
        "-object",
        "memory-backend-file,id=ram1,size=536870912,share=on,mem-path=/proc/self/fd/10"
        ",offset=536870912",
    ) in options
    assert [value for name, value in options if name == "-numa"] == [
        "node,nodeid=0,memdev=ram0,cpus=0-0",
        "node,nodeid=1,memdev=ram1,cpus=1-1",
        *(f"dist,src={a},dst={b},val={10 if a == b else 40}" for a in (0, 1) for b in (0, 1)),
    ]
    for number in range(2):
        (chardev,) = (value for _, value in options if value.startswith(f"socket,id=link{number},"))
        assert re.fullmatch(rf"socket,id=link{number},fd=\d+", chardev)
        assert (
            "-device",
            f"ivshmem-doorbell,id=dm{number},chardev=link{number},vectors=2",
        ) in options
    assert line[-2:] == ["-d", "int"]


def test_ram_is_split_where_the_agents_believe_it_is() -> None:
    line = live(MachineConfig())
    machine = line[line.index("-machine") + 1]
    assert "max-ram-below-4g=2147483648" in machine
    assert "memory-backend=ram0" in machine


def test_a_crash_is_an_exit_and_more_parameters_come_last() -> None:
    line = live(MachineConfig(append="a=1"))
    assert "-no-reboot" in line
    words = line[line.index("-append") + 1].split()
    assert {"oops=panic", "panic=-1"} <= set(words)
    # What is typed on the command line is later than what stands in the file.
    assert words[-2:] == ["a=1", "slub_debug=P"]


def test_the_driver_is_told_the_machines_policy() -> None:
    line = live(MachineConfig(policy=Policy.ON_TOUCH))
    assert "devmodel.policy=on_touch" in line[line.index("-append") + 1].split()
    assert "devmodel.policy" not in " ".join(live(MachineConfig()))


def test_an_emulated_guest_is_told_the_rate_of_its_counter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def words(accelerator: Accelerator) -> list[str]:
        line = live(MachineConfig(), accelerator)
        return line[line.index("-append") + 1].split()

    monkeypatch.setattr(tsc, "khz", lambda: 2_596_134)
    assert "tsc_early_khz=2596134" in words(TCG)
    # KVM has a clock of its own.
    assert not any("tsc_early" in word for word in words(Accelerator("kvm", "")))
    monkeypatch.setattr(tsc, "khz", lambda: None)
    assert not any("tsc_early" in word for word in words(TCG))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the counter is x86's")
def test_the_counters_rate_is_measured_alike_each_time() -> None:
    tsc.khz.cache_clear()
    first = tsc.khz()
    tsc.khz.cache_clear()
    second = tsc.khz()
    assert first is not None and second is not None
    assert 100_000 < first < 20_000_000
    assert abs(first - second) / first < 0.005


def test_a_guest_is_reached_on_loopback_only() -> None:
    line = " ".join(live(MachineConfig()))
    assert "hostfwd=tcp:127.0.0.1:0-10.0.2.15:22" in line
    assert "-vnc" not in line
    assert ("-display", "none") in pairs(line.split())


def test_a_supervised_guest_waits_for_its_devices() -> None:
    assert "-S" in live(MachineConfig())


def test_the_line_to_paste_names_no_descriptor() -> None:
    line = qemu.standalone(MachineConfig.load("hmm-coherent"), TCG, BOOT, link.DEFAULT)
    text = shlex.join(line)
    assert "\n" not in text
    assert shlex.split(text) == line
    assert "fd=" not in text
    assert "/proc/self/fd" not in text
    assert "memory-backend-memfd,id=bar0,size=536870912,share=on" in text


def test_a_node_gets_room_and_a_place_in_the_firmwares_tables(tmp_path: Path) -> None:
    data = {"memory": "1G", "cpus": 4, "devices": [{"model": "numa", "node": 2}]}
    line = live(MachineConfig.parse(data, tmp_path / "x.yaml"))
    options = pairs(line)
    machine = line[line.index("-machine") + 1]
    assert "hmat=on" in machine
    # QEMU takes one of the two.
    assert "memory-backend" not in machine
    assert ("-m", "1024M,slots=1,maxmem=2048M") in options
    assert ("-numa", "node,nodeid=0,memdev=ram0,cpus=0-3,initiator=0") in options
    nodes = [value for option, value in options if option == "-numa" and "nodeid=" in value]
    assert [value.split(",")[1] for value in nodes] == ["nodeid=0", "nodeid=1", "nodeid=2"]
    # Each pair of an initiator and a target, and each pair of nodes.
    assert sum("hmat-lb" in value for _, value in options) == 3 * 2
    assert sum("dist," in value for _, value in options) == 9
    assert "memhp_default_state=online_movable" in line[line.index("-append") + 1]


def test_other_models_get_no_nodes() -> None:
    line = live(MachineConfig.load("hmm-coherent"))
    assert "-numa" not in line
    assert ("-m", "1024M") in pairs(line)


def test_a_debugger_gets_a_socket_and_no_port() -> None:
    boot = Boot(QEMU, Path("/k"), Path("/i"), gdb=Path("/a,b/gdb"))
    for line in (
        qemu.standalone(MachineConfig(), TCG, boot, link.DEFAULT),
        live(MachineConfig(), boot=boot),
    ):
        assert ("-gdb", "unix:/a,,b/gdb,server=on,wait=off") in pairs(line)
        assert [word for word in line if "tcp:" in word] == [
            "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22"
        ]


USERNET = """Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  15       127.0.0.1 37001       10.0.2.15    22     0     0
"""


def test_the_forwarded_port_is_asked_back() -> None:
    assert qmp.parse_forward(USERNET) == 37001
    with pytest.raises(LaunchFailed, match="did not forward a port"):
        qmp.parse_forward("")


def test_kvm_by_name_needs_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "kvm_obstacle", lambda _: "there is no /dev/kvm")
    with pytest.raises(HostNotReady, match="KVM does not work: there is no /dev/kvm"):
        accel.choose(Accel.KVM, QEMU)
    assert accel.choose(Accel.AUTO, QEMU).name == "tcg"
    assert accel.choose(Accel.AUTO, QEMU).reason == "no KVM: there is no /dev/kvm"


def test_kvm_is_taken_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "kvm_obstacle", lambda _: None)
    assert accel.choose(Accel.AUTO, QEMU) == Accelerator("kvm", "works here")
    assert accel.choose(Accel.TCG, QEMU).name == "tcg"


def test_the_probe_guest_of_kvm_runs_under_tcg(monkeypatch: pytest.MonkeyPatch) -> None:
    # The five bytes themselves, where no KVM is needed to see that they are right.
    monkeypatch.setattr(accel, "PROBE_ACCEL", ("tcg", "max"))
    try:
        program = emulator.host()
    except HostNotReady:
        found = emulator.find_tree()
        if found is None:
            pytest.skip("no QEMU here: devmodel build")
        program = found
    assert accel._probe(program) is None


def test_flags_are_words() -> None:
    text = "processor : 0\nflags\t\t: fpu vme svmx\n\nprocessor : 1\nflags : vmx\n"
    assert accel.cpu_flags(text) == {"fpu", "vme", "svmx"}
