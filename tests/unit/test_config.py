"""Descriptions of machines: what is accepted, and the one line for each mistake."""

from pathlib import Path

import pytest

from devmodel.abi import ioctl
from devmodel.device.faults import Faults
from devmodel.errors import ConfigError, ExitCode
from devmodel.machine import config as configs
from devmodel.machine.config import MachineConfig, Policy

# YAML, and the message after the file's name.
MISTAKES = {
    "unknown key": ("memroy: 1G", "memroy: unknown key; did you mean memory?"),
    "unknown key, far off": (
        "colour: red",
        "colour: unknown key; known here: name, memory, cpus, nodes, accel, qemu, append, "
        "boot_timeout, trace, policy, restarts, kernel, devices, root, shares",
    ),
    "unknown key below": (
        "devices: [{modell: private}]",
        "devices[0].modell: unknown key; did you mean model?",
    ),
    "unknown key in kernel": (
        "kernel: {debuug: true}",
        "kernel.debuug: unknown key; did you mean debug?",
    ),
    "no size": (
        "memory: lots",
        "memory: 'lots' is not a size; write a whole number with K, M or G, like 256M",
    ),
    "a fraction": (
        "memory: 1.5G",
        "memory: '1.5G' is not a size; write a whole number with K, M or G, like 256M",
    ),
    "negative size": (
        "memory: -1",
        "memory: -1 is not a size; write a whole number with K, M or G, like 256M",
    ),
    "boolean size": (
        "memory: true",
        "memory: True is not a size; write a whole number with K, M or G, like 256M",
    ),
    "too little memory": (
        "memory: 64M",
        "memory: 64M of RAM is not possible; use a multiple of 2M from 128M to 64G",
    ),
    "too much memory": (
        "memory: 1T",
        "memory: 1T of RAM is not possible; use a multiple of 2M from 128M to 64G",
    ),
    "odd memory": (
        "memory: 257M",
        "memory: 257M of RAM is not possible; use a multiple of 2M from 128M to 64G",
    ),
    "no number": ("cpus: two", "cpus: 'two' is no whole number; write one like 2"),
    "boolean number": ("cpus: true", "cpus: True is no whole number; write one like 2"),
    "no CPU": ("cpus: 0", "cpus: 0 CPUs are not possible; use 1 to 16"),
    "many CPUs": ("cpus: 17", "cpus: 17 CPUs are not possible; use 1 to 16"),
    "more nodes than CPUs": ("nodes: 3", "nodes: 3 is not possible; use 1 to 2 (cpus)"),
    "CPUs that do not spread": (
        "{nodes: 2, cpus: 3}",
        "nodes: 3 CPUs do not spread over 2 nodes",
    ),
    "a node of half a block": (
        "{nodes: 2, memory: 384M}",
        "nodes: 384M do not fit 2 nodes; use a multiple of 256M",
    ),
    "a device on a node of RAM": (
        "{nodes: 2, devices: [{model: numa}]}",
        "devices: node 1 is one of RAM's; use another",
    ),
    "unknown accelerator": (
        "accel: xen",
        "accel: 'xen' is not known; use 'auto', 'kvm' or 'tcg'",
    ),
    "unknown model": (
        "devices: [{model: privat}]",
        "devices[0].model: 'privat' is not known; "
        "use 'mirror', 'private', 'coherent', 'numa' or 'cdm'",
    ),
    "HBM of a mirror": (
        "devices: [{model: mirror, hbm: 1M}]",
        "devices[0]: hbm: a mirror device has no memory; remove hbm, or use model: private",
    ),
    "no HBM": (
        "devices: [{model: private, hbm: 0}]",
        "devices[0]: hbm: 0 is not possible; use 2M to 64G",
    ),
    "odd HBM": (
        "devices: [{model: private, hbm: 3M}]",
        "devices[0]: hbm: 3M does not fit private; use a multiple of 2M",
    ),
    "odd coherent HBM": (
        "devices: [{model: coherent, hbm: 64M}]",
        "devices[0]: hbm: 64M does not fit coherent; use a multiple of 128M",
    ),
    "odd node's HBM": (
        "devices: [{model: numa, hbm: 64M}]",
        "devices[0]: hbm: 64M does not fit numa; use a multiple of 128M",
    ),
    "node of a private device": (
        "devices: [{model: private, node: 1}]",
        "devices[0]: node: the memory of a private device is no NUMA node",
    ),
    "node of the CPUs": (
        "devices: [{model: cdm, node: 0}]",
        "devices[0]: node: 0 is not possible; use 1 to 15",
    ),
    "two nodes": (
        "devices: [{model: numa}, {model: cdm, node: 2}]",
        "devices: one device at most can be a NUMA node; make the others coherent",
    ),
    "own tree and patch": (
        "kernel: {tree: linux, cdm: true}",
        "kernel: tree and cdm exclude each other; apply guest/kernel/patches yourself",
    ),
    "page size": (
        "devices: [{page_shift: 16}]",
        "devices[0].page_shift: unknown key; known here: model, hbm, hbm_survives, node, programs, "
        "faults",
    ),
    "devices no list": (
        "devices: private",
        "devices: 'private' is no list; begin its lines with '- '",
    ),
    "device no keys": (
        "devices: [private]",
        "devices[0]: 'private' has no keys; write them below it, indented",
    ),
    "too many devices": (
        f"devices: [{', '.join(['{model: mirror}'] * 9)}]",
        "devices: 9 devices are too many; use 8 at most",
    ),
    "unknown fault": (
        "devices: [{faults: {lost_invalidates: 1}}]",
        "devices[0].faults.lost_invalidates: unknown key; did you mean lost_invalidate?",
    ),
    "unknown fault, far off": (
        "devices: [{faults: {fire: 1}}]",
        "devices[0].faults.fire: unknown key; known here: lost_invalidate, late_invalidate, "
        "lost_dirty, stuck_address_line, failing_page",
    ),
    "fault that cannot be": (
        "devices: [{faults: {stuck_address_line: 3}}]",
        "devices[0].faults: stuck_address_line is 3: must be 12 to 51, or 0",
    ),
    "fault without a number": (
        "devices: [{faults: {lost_dirty: often}}]",
        "devices[0].faults.lost_dirty: 'often' is no whole number; write one like 2",
    ),
    "no name": (
        "name: Mein Rechner",
        "name: 'Mein Rechner' is no name; use lower-case letters, digits and '-'",
    ),
    "number for text": ("append: 5", "append: 5 is no text; put it in quotes"),
    "broken line": (
        'append: "a\\nb"',
        "append: the kernel command line is one line; remove the line break",
    ),
    "unknown policy": (
        "policy: first_touch",
        "policy: 'first_touch' is not known; use 'in_place' or 'on_touch'",
    ),
    "neither true nor false": (
        "kernel: {debug: maybe}",
        "kernel.debug: 'maybe' is neither true nor false; write one of them",
    ),
    "tree and debug": (
        "kernel: {tree: /x, debug: true}",
        "kernel: tree and debug exclude each other; configure your tree for debugging",
    ),
    "tree and series": (
        'kernel: {tree: /x, series: "7.2"}',
        "kernel: tree and series exclude each other; remove one",
    ),
    "a series that is not known": (
        'kernel: {series: "6.12"}',
        "kernel.series: '6.12' is not known; use one of 7.2, 7.3, 7.2-own, 6.1-own, or tree: PATH",
    ),
    "a series without quotes": (
        "kernel: {series: 7.2}",
        "kernel.series: 7.2 is no text; put it in quotes",
    ),
    "path": ("kernel: {tree: 5}", "kernel.tree: 5 is no path; write one in quotes"),
    "share without guest": ("shares: [{host: /tmp}]", "shares[0].guest: missing; add it"),
    "relative mount point": (
        "shares: [{host: /tmp, guest: mnt}]",
        "shares[0].guest: 'mnt' is no mount point; write an absolute path like /mnt/host",
    ),
    "limit": ("boot_timeout: 0", "boot_timeout: 0 is no useful limit; use 1 to 3600 seconds"),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "machine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        MachineConfig.load(path)
    assert str(caught.value) == f"{path}: {message}"
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.CONFIG


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "memory: 1G\ndevices: [\n")
    with pytest.raises(ConfigError) as caught:
        MachineConfig.load(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)


def test_a_list_is_no_machine(tmp_path: Path) -> None:
    path = write(tmp_path, "- 1")
    with pytest.raises(ConfigError, match="holds a list; write keys"):
        MachineConfig.load(path)


def test_binary_is_no_machine(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file; name a YAML file"):
        MachineConfig.load(path)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig.load("hmm-privat")
    assert str(caught.value) == (
        "hmm-privat: no such file or shipped description; did you mean hmm-private?"
    )


@pytest.mark.parametrize("name", configs.shipped())
def test_every_shipped_description_is_good(name: str) -> None:
    assert MachineConfig.load(name).name == name


def test_a_model_is_a_name_too() -> None:
    assert configs.find("private") == configs.find("hmm-private")


def test_an_empty_file_is_a_machine_without_devices(tmp_path: Path) -> None:
    config = MachineConfig.load(write(tmp_path, ""))
    assert (config.name, config.memory, config.cpus, config.devices) == (
        "machine",
        1 << 30,
        2,
        (),
    )


def test_relative_paths_are_the_files_own(tmp_path: Path) -> None:
    text = "devices: [{programs: [mine.py]}]\nshares: [{host: data, guest: /mnt}]"
    config = MachineConfig.load(write(tmp_path, text))
    assert config.devices[0].programs == (tmp_path / "mine.py",)
    assert config.shares[0].host == tmp_path / "data"


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    config = MachineConfig.load(write(tmp_path, "devices: [{programs: [mine.py]}]"))
    with pytest.raises(ConfigError, match=r"programs: no file .*mine\.py; name a Python file"):
        config.check_files()


@pytest.mark.parametrize(
    ("model", "hbm", "region", "offset"),
    [
        ("mirror", None, 1 << 20, 0),
        ("private", "256M", 1 << 20, 0),
        ("coherent", "128M", 256 << 20, 128 << 20),
        ("coherent", "256M", 512 << 20, 128 << 20),
        ("coherent", "896M", 1 << 30, 128 << 20),
        ("coherent", "1G", 2 << 30, 128 << 20),
        ("numa", "128M", 256 << 20, 128 << 20),
        ("cdm", "256M", 512 << 20, 128 << 20),
    ],
)
def test_bar_2_holds_what_the_model_shows(
    tmp_path: Path, model: str, hbm: str | None, region: int, offset: int
) -> None:
    size = f", hbm: {hbm}" if hbm else ""
    path = write(tmp_path, f"devices: [{{model: {model}{size}}}]")
    device = MachineConfig.load(path).devices[0]
    assert (device.region_size, device.hbm_offset) == (region, offset)


def test_tracing_and_faults_are_off_unless_asked_for(tmp_path: Path) -> None:
    config = MachineConfig.load(write(tmp_path, "devices: [{model: private}]"))
    assert not config.trace
    assert config.devices[0].faults == Faults()
    text = "trace: true\ndevices: [{faults: {lost_dirty: 3}}]"
    config = MachineConfig.load(write(tmp_path, text))
    assert config.trace
    assert config.devices[0].faults == Faults(lost_dirty=3)


def test_policies_are_those_of_the_driver(tmp_path: Path) -> None:
    assert [policy.value for policy in Policy] == [name.name.lower() for name in ioctl.Policy]
    assert MachineConfig.load(write(tmp_path, "")).policy is Policy.IN_PLACE
    assert MachineConfig.load(write(tmp_path, "policy: on_touch")).policy is Policy.ON_TOUCH


def test_programs_want_a_device(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.py", tmp_path / "other.py"
    config = MachineConfig.load("two-devices").with_programs([mine]).with_programs([other])
    assert [device.programs for device in config.devices] == [(mine, other), (mine, other)]
    with pytest.raises(ConfigError, match="--programs: this machine has no device"):
        MachineConfig().with_programs([mine])
