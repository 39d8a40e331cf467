"""HBM as a NUMA node: the guest's own tests, and what the kernel shows of the node."""

import pytest

from devmodel.machine import Machine
from devmodel.testing.subtests import Ktap

SECONDS = 300
NODE = "/sys/devices/system/node"
PROGRAMS = (
    "dm-test-access",
    "dm-test-atomic",
    "dm-test-hbm",
    "dm-test-lifetime",
    "dm-test-migrate",
    "dm-test-policy",
    "dm-test-process",
)

pytestmark = pytest.mark.timeout(SECONDS + 120)
on_nodes = pytest.mark.parametrize("config", ["numa", "cdm"], indirect=True)


@on_nodes
@pytest.mark.parametrize("program", PROGRAMS)
def test_guest(ktap: Ktap, program: str) -> None:
    ktap([program], timeout=SECONDS)


@on_nodes
def test_random_operations_agree_with_a_plain_model(vm: Machine) -> None:
    done = vm.run(["dm-model", "--ops", "5000"], timeout=SECONDS)
    assert done.exit_code == 0, done.stderr


def read(vm: Machine, path: str) -> str:
    return vm.run(["cat", path]).check().stdout.strip()


@on_nodes
def test_the_node_is_all_of_the_hbm_movable_and_far_away(vm: Machine) -> None:
    size = vm.config.devices[0].hbm_size
    assert f"MemTotal:         {size >> 10} kB" in read(vm, f"{NODE}/node1/meminfo")
    assert read(vm, f"{NODE}/node1/cpulist") == ""
    assert read(vm, f"{NODE}/node0/distance").split() == ["10", "40"]
    zones = read(vm, "/proc/buddyinfo").splitlines()
    assert [line.split()[3] for line in zones if line.startswith("Node 1,")] == ["Movable"]


@on_nodes
def test_isolation_is_visible(vm: Machine, config: str) -> None:
    attribute = f"{NODE}/has_coherent_device"
    allowed = read(vm, "/proc/self/status").partition("Mems_allowed_list:")[2].split()[0]
    orders = vm.dmesg()
    if config == "cdm":
        assert read(vm, attribute) == "1"
        assert allowed == "0"
        assert "Fallback order for Node 0: 0 \n" in orders
    else:
        assert vm.run(["test", "-e", attribute]).exit_code != 0
        assert allowed == "0-1"
        assert "Fallback order for Node 0: 0 1 \n" in orders


@on_nodes
def test_what_the_machine_has_is_the_sum_of_its_nodes(vm: Machine) -> None:
    def total(path: str) -> int:
        (line,) = (text for text in read(vm, path).splitlines() if "MemTotal:" in text)
        return int(line.split()[-2])

    nodes = sum(total(f"{NODE}/node{node}/meminfo") for node in (0, 1))
    assert total("/proc/meminfo") == nodes


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_cdm_is_refused_where_the_kernel_has_no_such_nodes(vm: Machine) -> None:
    vm.expect("model=cdm: this kernel has no coherent device nodes")
    vm.run(["rmmod", "devmodel"]).check()
    try:
        vm.run(["modprobe", "devmodel", "model=cdm"])
        assert "model=numa works on it" in vm.dmesg()
    finally:
        vm.run(["rmmod", "devmodel"])
        vm.run(["modprobe", "devmodel"]).check()


@on_nodes
def test_the_node_goes_and_comes_with_the_driver(vm: Machine) -> None:
    vm.run(["rmmod", "devmodel"]).check()
    assert read(vm, f"{NODE}/has_memory") == "0"
    vm.run(["modprobe", "devmodel"]).check()
    assert read(vm, f"{NODE}/has_memory") == "0-1"
