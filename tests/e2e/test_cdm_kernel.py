"""The kernel with the CDM patch, without a device: nothing that a program can see is different."""

from typing import Any

import pytest
from configurations import load

from devmodel.machine import Machine
from devmodel.progress import Reporter

SECONDS = 300
# The state that the patch adds, and its value where no node has it.
STATE = "has_coherent_device"
# What the kernel made of two nodes, and what it then does with them.
LOOK = f"""
set -e
cd /sys/devices/system/node
find . -type f | grep -v -e {STATE} | sort
grep -H . has_cpu has_memory has_normal_memory online possible node*/distance node*/cpulist
grep -H . /sys/devices/virtual/memory_tiering/*/nodelist
grep Mems /proc/self/status
cut -d' ' -f1 /proc/vmstat
sed 's/[0-9][0-9]*$//' /proc/zoneinfo | grep -e Node -e '^ *[a-z_]* *$'
cat /sys/fs/cgroup/cpuset.mems.effective
echo 8 > /proc/sys/vm/nr_hugepages
grep -H . node*/hugepages/hugepages-2048kB/nr_hugepages
"""


def seen(*, cdm: bool) -> tuple[list[str], list[str], str]:
    """What LOOK prints, the kernel's lines on zone lists, and the state's value if there is one."""
    # On the kernel that is built from the same source with the same configuration.
    plain = load("private@cdm" if cdm else "private@7.2-own")
    update = {"devices": (), "append": "numa=fake=2"}
    with Machine(plain.model_copy(update=update), reporter=Reporter()) as vm:
        look = vm.run(["sh", "-c", LOOK]).check().stdout.splitlines()
        orders = [
            line.partition("] ")[2] for line in vm.dmesg().splitlines() if "Fallback order" in line
        ]
        state = vm.run(f"cat /sys/devices/system/node/{STATE}").stdout
        return look, orders, state


@pytest.mark.timeout(SECONDS)
@pytest.mark.machine("private@7.2-own", "private@cdm")
def test_nothing_changes_without_a_device(no_vm: Any) -> None:
    no_vm.end()
    look, orders, state = seen(cdm=False)
    assert state == ""
    assert len(orders) == 2
    assert look[-2:] == [f"node{node}/hugepages/hugepages-2048kB/nr_hugepages:4" for node in (0, 1)]
    assert seen(cdm=True) == (look, orders, "\n")
