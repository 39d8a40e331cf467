"""The NUMA node that HBM becomes is taken away while programs use it, and comes back.

What they see is told by dm-hold (guest/probes).
"""

import json
from typing import Any

import pytest

from devmodel.machine import Machine

DRIVER = "/sys/bus/pci/drivers/devmodel"
NODE = "/sys/devices/system/node/node1"
HOLD = "rm -f /tmp/go /tmp/told; mkfifo /tmp/go /tmp/told; dm-hold /tmp/go /tmp/told"
PAGES, PINNED = 4096, 8


def function(vm: Machine) -> str:
    """The device's PCI function."""
    return vm.run("basename /sys/bus/pci/drivers/devmodel/0000:*").check().stdout.strip()


def tell(vm: Machine, what: str, device: str) -> None:
    """Bind or unbind the driver."""
    vm.run(f"echo {device} >{DRIVER}/{what}", timeout=60).check()


def look(vm: Machine) -> dict[str, Any]:
    """What has become of dm-hold's pages. Then it ends."""
    told: dict[str, Any] = json.loads(
        vm.run("cat /tmp/told & : >/tmp/go; wait", timeout=60).check().stdout
    )
    return told


def there(vm: Machine) -> bool:
    """Whether the node is."""
    return vm.run(["test", "-d", NODE]).exit_code == 0


@pytest.mark.parametrize("config", ["numa", "cdm"], indirect=True)
def test_removal_moves_all_pages(vm: Machine) -> None:
    """They are bound to the node, and another program takes its pages all the time."""
    device = function(vm)
    vm.run(HOLD, timeout=60).check()
    tell(vm, "unbind", device)
    assert not there(vm)
    assert look(vm) == {"pages": PAGES, "on_node": 0, "wrong": False, "more_on_node": 0}
    tell(vm, "bind", device)
    assert there(vm)
    vm.run(["dm-probe", "bind", "driver"]).check()


@pytest.mark.parametrize("config", ["numa"], indirect=True)
def test_pages_that_cannot_move_keep_the_node(vm: Machine) -> None:
    device = function(vm)
    vm.run(f"{HOLD} --pin", timeout=60).check()
    tell(vm, "unbind", device)
    assert there(vm)
    count = int(vm.dmesg().rpartition("node 1 stays: ")[2].split()[0])
    assert count >= PINNED
    # The next driver takes the node as it is, and it works.
    tell(vm, "bind", device)
    assert "node 1 is there already" in vm.dmesg()
    vm.run(["dm-probe", "bind", "driver"]).check()
    told = look(vm)
    assert told["on_node"] >= PINNED
    assert not told["wrong"]
    tell(vm, "unbind", device)
    assert not there(vm)
    tell(vm, "bind", device)
    assert there(vm)
