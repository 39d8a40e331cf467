"""What people and devices get wrong, as a person in the guest meets it: one clear line each.

What the host refuses before there is a guest is tested without one: wrong YAML in
tests/unit/test_config.py, missing QEMU, too little disk or memory in tests/unit/test_host.py,
kernels without DEVICE_PRIVATE in tests/unit/test_kernel.py.
"""

import re
from collections.abc import Iterator

import pytest

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.registers import ABI_MAJOR, MAGIC, DeviceRegs
from devmodel.machine import Machine


@pytest.mark.parametrize("config", ["private"], indirect=True)
@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("dm-run no_such_program 1", "dm-run: no device program named 'no_such_program'"),
        ("dm-run fill @8", "dm-run: fill: does not take these arguments"),
        ("dm-run fill @8 1 1 1", "dm-run: fill: does not take these arguments"),
        (
            "dm-run sum 0x1000 1",
            "dm-run: sum: address 0x1000 is not mapped or not readable (device read fault)",
        ),
        (
            "dm-run fill 0x1000 1 1",
            "dm-run: fill: address 0x1000 is not mapped or not writable (device write fault)",
        ),
        ("dm-run sum x", "dm-run: 'x' is neither a number nor @SIZE"),
        ("dm-info /dev/null", "dm-info: info: not a devmodel device"),
        (
            "dm-info /dev/devmodel9",
            "dm-info: /dev/devmodel9: no such device; is the driver loaded (modprobe devmodel)?",
        ),
    ],
)
def test_one_line_says_what_is_wrong(vm: Machine, command: str, error: str) -> None:
    done = vm.run(command)
    assert done.exit_code in (1, 2)
    assert done.stderr.splitlines() == [error]


BIND = "/sys/bus/pci/drivers/devmodel"


@pytest.fixture
def unbound(vm: Machine) -> Iterator[tuple[Machine, str]]:
    """The VM, its driver off the device, and the device's PCI function."""
    registers = vm.devices[0].region[: DeviceRegs.SIZE]
    kept = registers.copy()
    function = vm.run(f"cd {BIND} && ls -d 0000:*").check().stdout.strip()
    vm.run(f"echo {function} >{BIND}/unbind").check()
    yield vm, function
    # Only what the tests change: the device goes on writing the rest.
    for name in CHANGED:
        at = slice(DeviceRegs.offset(name), DeviceRegs.offset(name) + 4)
        registers[at] = kept[at]
    vm.run(f"echo {function} >{BIND}/bind").check()
    vm.run(["dm-info"]).check()


CHANGED = ("magic", "abi_major", "layout_hash", "page_shift", "model", "control_entries")


@pytest.mark.parametrize("config", ["private"], indirect=True)
@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("magic", 0x12345678, f"not devmodel: magic .*12345678, not {MAGIC:#x}"),
        ("abi_major", 77, f"the device speaks ABI 77.0, this driver {ABI_MAJOR}.0: load the"),
        (
            "layout_hash",
            (LAYOUT_HASH + 1) & 0xFFFFFFFF,
            f"the device's layout is {LAYOUT_HASH + 1:#018x}, this driver's {LAYOUT_HASH:#018x}",
        ),
        ("page_shift", 16, r"the device has pages of 2\^16 bytes, this kernel of 2\^12"),
        ("model", 9, "configured for model 9, which this driver does not know"),
        ("control_entries", 3, "ring"),
        ("control_entries", 1 << 30, "ring"),
    ],
)
def test_a_device_of_another_kind_is_refused(
    unbound: tuple[Machine, str], field: str, value: int, error: str
) -> None:
    vm, function = unbound
    at = DeviceRegs.offset(field)
    vm.devices[0].region[at : at + 4] = list(value.to_bytes(4, "little"))
    before = len(vm.dmesg())
    assert vm.run(f"echo {function} >{BIND}/bind").exit_code != 0
    assert re.search(error, vm.dmesg()[before:])
    assert vm.run(["dm-info"]).stderr.startswith("dm-info: /dev/devmodel0: no such device")


@pytest.mark.parametrize("config", ["private"], indirect=True)
@pytest.mark.parametrize(
    ("model", "error"),
    [("hbm", "model=hbm: this driver knows"), ("", "model=: this driver knows")],
)
def test_an_unknown_model_is_refused(vm: Machine, model: str, error: str) -> None:
    before = len(vm.dmesg())
    vm.run(["modprobe", "-r", "devmodel"]).check()
    try:
        vm.run(["modprobe", "devmodel", f"model={model}"])
        assert error in vm.dmesg()[before:]
        assert vm.run(["dm-info"]).exit_code == 1
    finally:
        vm.run("modprobe -r devmodel; modprobe devmodel").check()
    vm.run(["dm-info"]).check()


@pytest.mark.parametrize("config", ["mirror"], indirect=True)
def test_a_model_that_the_device_cannot_be(vm: Machine) -> None:
    """Private and coherent need HBM, which a mirror device has not."""
    vm.run(["modprobe", "-r", "devmodel"]).check()
    try:
        for model in ("private", "coherent"):
            before = len(vm.dmesg())
            vm.run(["modprobe", "devmodel", f"model={model}"])
            said = vm.dmesg()[before:]
            assert "HBM" in said, said
            assert vm.run(["dm-info"]).exit_code == 1
            vm.run(["modprobe", "-r", "devmodel"]).check()
    finally:
        vm.run("modprobe -r devmodel; modprobe devmodel").check()
    vm.run(["dm-info"]).check()


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_lesser_model_than_the_device_can_be(vm: Machine) -> None:
    """Migration off: the device has HBM, and the driver leaves it alone."""
    vm.run("modprobe -r devmodel && modprobe devmodel model=mirror").check()
    try:
        assert "model:       mirror" in vm.run(["dm-info"]).check().stdout
        vm.run(["dm-test-access"], timeout=120).check()
        vm.run(["dm-test-errors"], timeout=120).check()
    finally:
        vm.run("modprobe -r devmodel; modprobe devmodel").check()
