"""A device that fails: its mirrors are released, each once, and others go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devmodel.machine import Machine, MachineConfig

# A device program that has its own context forgotten, so that the next update of it fails.
PROGRAMS = """
import numpy as np
from devmodel.device.programs import Memory, program

going = []

@program("forget")
async def forget(memory: Memory, va: int) -> None:
    await memory.store(va, np.ones(1, np.uint64))
    port = memory._port
    contexts = port._mmu._contexts
    port._mmu.destroy(next(ctx for ctx in contexts if contexts[ctx] is port._context))
    while not going:
        await memory.pause()

@program("let_go")
async def let_go(memory: Memory) -> None:
    going.append(True)
"""
TRACE = "cd /sys/kernel/tracing/events/devmodel"


@pytest.fixture
def vm_of_its_own(tmp_path: Path) -> Iterator[Machine]:
    """A VM whose device knows the programs above."""
    file = tmp_path / "forget.py"
    file.write_text(PROGRAMS)
    data = {
        "name": "errors",
        "memory": "256M",
        "devices": [{"programs": [str(file)], "hbm": "32M"}],
    }
    with Machine(MachineConfig.parse(data, tmp_path / "errors.yaml")) as vm:
        vm.run(f"{TRACE} && echo 1 | tee devmodel_register/enable devmodel_release/enable").check()
        yield vm


def traced(vm: Machine, event: str) -> int:
    """How often an event was traced."""
    return int(vm.run(f"grep -c ' {event}:' /sys/kernel/tracing/trace").stdout)


def wait_for(vm: Machine, condition: str) -> None:
    """Until a command of the guest's shell succeeds."""
    vm.run(f"until {condition}; do usleep 10000; done", timeout=60).check()


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("no_vm")
def test_a_failed_update_ends_that_mirror_alone(vm_of_its_own: Machine) -> None:
    vm = vm_of_its_own
    vm.run("(dm-run forget @4096; echo $? >/tmp/forgot) >/dev/null 2>&1 &").check()
    vm.run("(dm-run atomic_add @4096 1000000 1; echo $? >/tmp/added) >/dev/null 2>&1 &").check()
    wait_for(vm, "[ $(pidof dm-run | wc -w) = 2 ]")
    wait_for(vm, "grep -q '^device_faults *[2-9]' /sys/kernel/debug/devmodel/0/stats")
    assert traced(vm, "devmodel_register") == 2
    # A change of every page that it can write: the device has nothing of the first any more.
    wait_for(
        vm,
        "for p in $(pidof dm-run); do echo 4 >/proc/$p/clear_refs; done;"
        " grep -q ' devmodel_release:' /sys/kernel/tracing/trace",
    )
    assert "control command 3 refused" in vm.dmesg()
    assert traced(vm, "devmodel_release") == 1
    vm.run("grep -q '^lost *0$' /sys/kernel/debug/devmodel/0/stats").check()
    wait_for(vm, "[ -e /tmp/added ]")
    assert vm.run("cat /tmp/added").stdout == "0\n"
    vm.run("dm-run let_go").check()
    wait_for(vm, "[ -e /tmp/forgot ]")
    assert traced(vm, "devmodel_register") == traced(vm, "devmodel_release") == 3
