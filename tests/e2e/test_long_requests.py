"""Requests about 2^45 bytes and more: who makes one can be killed, and holds nothing up.

They are made by dm-long (guest/tests).
"""

import errno
from collections.abc import Iterator

import pytest

from devmodel.machine import Machine

DRIVER = "/sys/bus/pci/drivers/devmodel"
# Not the request's own time, which is minutes.
SOON = 20
# A hundredth of a second each, spent in the kernel.
TICKS = 20
PRIVATE = ("migrate", "migrate-back")
ANY = ("snapshot", "dmirror-snapshot", "dmirror-check-exclusive")
ALL = [("mirror", name) for name in ANY] + [
    ("private", name) for name in (*PRIVATE, *ANY, "dmirror-migrate")
]


@pytest.fixture(autouse=True)
def with_dmirror(vm: Machine) -> Iterator[None]:
    """The driver with the kernel's own test interface; afterwards without."""
    vm.run("modprobe -r devmodel && modprobe devmodel dmirror=1", timeout=60).check()
    yield
    vm.run("for process in $(pidof dm-long); do kill -9 $process; done")
    vm.run("modprobe -r devmodel; modprobe devmodel", timeout=60).check()


def start(vm: Machine, request: str) -> int:
    """A process that has made it and is at work in the kernel."""
    made = f"rm -f /tmp/ended; dm-long {request} >/tmp/ended 2>&1 & echo $!"
    process = int(vm.run(made).check().stdout)
    ticks = f"$(cut -d ' ' -f 15 /proc/{process}/stat)"
    begun = "until grep -q begun /tmp/ended; do usleep 10000; done"
    busy = f"began={ticks}; until [ $(({ticks} - began)) -ge {TICKS} ]; do usleep 10000; done"
    vm.run(f"{begun}; {busy}", timeout=SOON).check()
    return process


def wait_gone(vm: Machine, process: int) -> None:
    vm.run(f"while [ -e /proc/{process} ]; do usleep 10000; done", timeout=SOON).check()


@pytest.mark.parametrize(("config", "request_name"), ALL, indirect=["config"])
def test_a_long_request_can_be_killed(vm: Machine, request_name: str) -> None:
    process = start(vm, request_name)
    vm.run(f"kill -9 {process}").check()
    wait_gone(vm, process)
    vm.run("modprobe -r devmodel", timeout=SOON).check()
    vm.run("modprobe devmodel", timeout=60).check()


@pytest.mark.parametrize(("config", "request_name"), ALL, indirect=["config"])
def test_a_long_request_does_not_hold_up_removal(vm: Machine, request_name: str) -> None:
    process = start(vm, request_name)
    device = vm.run(f"cd {DRIVER} && ls -d 0000:* | head -1").check().stdout.strip()
    vm.run(f"echo {device} >{DRIVER}/unbind", timeout=SOON).check()
    wait_gone(vm, process)
    assert vm.run(["cat", "/tmp/ended"]).stdout == f"begun\n{errno.ENODEV}\n"
    vm.run(f"echo {device} >{DRIVER}/bind", timeout=60).check()
