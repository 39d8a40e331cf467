"""A process is stuck on memory that does not come, and the driver goes nevertheless.

The memory is a file's whose file system does not answer (guest/tests/dm-stall.c). That others are
not delayed is dm-test-stall's.
"""

import errno
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from devmodel.abi.rings import Status
from devmodel.machine import Machine

DRIVER = "/sys/bus/pci/drivers/devmodel"
TOLD = "/tmp/told"
# What must not hang may take so long.
SOON = 30
UNLOADED = """
i=0
until modprobe -r devmodel 2>/dev/null; do
    i=$((i + 1)); [ $i -lt 100 ] || exit 1; usleep 100000
done
"""


@pytest.fixture(autouse=True)
def mended(vm: Machine) -> Iterator[None]:
    """Afterwards nobody is stuck, and the driver is there."""
    yield
    vm.run("for process in $(pidof dm-stall); do kill -9 $process; done")
    vm.run("modprobe devmodel", timeout=SOON)


@dataclass(frozen=True)
class Stuck:
    """The processes of dm-stall, by number."""

    server: int
    stuck: int


def get_stuck(vm: Machine) -> Stuck:
    """A process in the guest whose device program waits for a page; its fault is at work."""
    done = vm.run(f"rm -f {TOLD}; dm-stall {TOLD}", timeout=60).check()
    return Stuck(**json.loads(done.stdout))


def kill(vm: Machine, process: int) -> None:
    vm.run(f"kill -9 {process}").check()


def wait_gone(vm: Machine, process: int) -> None:
    """Until it has been collected."""
    vm.run(f"while [ -e /proc/{process} ]; do usleep 10000; done", timeout=SOON).check()


def how_it_ended(vm: Machine) -> dict[str, Any]:
    """How the stuck process' wait for its program did."""
    vm.run(f"until [ -s {TOLD} ]; do usleep 10000; done", timeout=SOON).check()
    told: dict[str, Any] = json.loads(vm.run(["cat", TOLD]).check().stdout)
    return told


def function(vm: Machine) -> str:
    """Device 0's PCI function."""
    return vm.run(f"cd {DRIVER} && ls -d 0000:* | head -1").check().stdout.strip()


def unbind(vm: Machine) -> None:
    vm.run(f"echo {function(vm)} >{DRIVER}/unbind", timeout=SOON).check()


def load_anew(vm: Machine, stuck: Stuck) -> None:
    """Once the memory's server is gone nothing keeps the driver."""
    kill(vm, stuck.server)
    vm.run(UNLOADED, timeout=SOON).check()
    vm.run("while pidof dm-stall; do usleep 10000; done", timeout=SOON).check()
    vm.run("modprobe devmodel && dm-test-access", timeout=60).check()


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_unbinding_does_not_wait_for_who_is_stuck(vm: Machine, killed: bool) -> None:
    stuck = get_stuck(vm)
    if killed:
        kill(vm, stuck.stuck)
        wait_gone(vm, stuck.stuck)
    unbind(vm)
    if not killed:
        # Either of those who are told first: the program, or the one who waits for it.
        end = how_it_ended(vm)
        assert end["errno"] in (errno.EIO, errno.ENODEV) or end["status"] == Status.KILLED
        wait_gone(vm, stuck.stuck)
    # What is stuck is code of the module's.
    assert vm.run(["modprobe", "-r", "devmodel"], timeout=SOON).exit_code != 0
    load_anew(vm, stuck)


def test_binding_again_while_one_is_stuck(vm: Machine) -> None:
    """The new device has nothing to do with what waits for the old one."""
    device = function(vm)
    stuck = get_stuck(vm)
    unbind(vm)
    vm.run(f"echo {device} >{DRIVER}/bind", timeout=SOON).check()
    vm.run(["dm-test-access"], timeout=60).check()
    wait_gone(vm, stuck.stuck)
    load_anew(vm, stuck)


def test_unloading_is_refused_while_one_is_stuck(vm: Machine) -> None:
    stuck = get_stuck(vm)
    assert vm.run(["modprobe", "-r", "devmodel"], timeout=SOON).exit_code != 0
    kill(vm, stuck.stuck)
    wait_gone(vm, stuck.stuck)
    # Nobody has it open any more, but its code is at work.
    assert vm.run(["modprobe", "-r", "devmodel"], timeout=SOON).exit_code != 0
    load_anew(vm, stuck)


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_device_is_lost_while_one_is_stuck(vm: Machine) -> None:
    stuck = get_stuck(vm)
    vm.expect_device_lost()
    os.kill(vm.devices[0].pid, signal.SIGKILL)
    assert vm.wait_change(10)
    assert how_it_ended(vm)["errno"] == errno.EIO
    wait_gone(vm, stuck.stuck)
    unbind(vm)
    kill(vm, stuck.server)
    vm.run(UNLOADED, timeout=SOON).check()
