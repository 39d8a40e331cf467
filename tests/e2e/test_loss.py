"""A device is lost, or taken away: touches of its pages are SIGBUS and never zeros, nothing hangs.

What the processes of the guest see is told by dm-lost (guest/tests).
"""

import contextlib
import errno
import json
import os
import signal
from typing import Any

import pytest

from devmodel.machine import Machine

DRIVER = "/sys/bus/pci/drivers/devmodel"
PREPARE = "rm -f /tmp/go /tmp/told; mkfifo /tmp/go /tmp/told; dm-lost /tmp/go /tmp/told"
UNLOADED = """
i=0
until modprobe -r devmodel 2>/dev/null; do
    i=$((i + 1)); [ $i -lt 100 ] || exit 1; usleep 100000
done
"""


def hold(vm: Machine, option: str = "") -> None:
    """A process in the guest, its pages in the HBM of device 0."""
    vm.run(f"{PREPARE} {option}", timeout=60).check()


def look(vm: Machine) -> dict[str, Any]:
    """What has become of its pages. Then it ends."""
    told: dict[str, Any] = json.loads(
        vm.run("cat /tmp/told & : >/tmp/go; wait", timeout=120).check().stdout
    )
    return told


def kill_agent(vm: Machine) -> None:
    """Device 0 is gone from one moment to the next."""
    vm.expect_device_lost()
    os.kill(vm.devices[0].pid, signal.SIGKILL)
    assert vm.wait_change(10)


def unload(vm: Machine) -> None:
    """The driver goes as soon as the last process that it had to stay for is gone."""
    vm.run(UNLOADED, timeout=60).check()


def function(vm: Machine) -> str:
    """Device 0's PCI function."""
    return vm.run(f"cd {DRIVER} && ls -d 0000:* | head -1").check().stdout.strip()


@pytest.mark.parametrize("config", ["oversubscribed", "two-devices"], indirect=True)
def test_a_lost_device(vm: Machine) -> None:
    """HBM is full (or a peer could reach it), a program runs, more pages want in."""
    hold(vm)
    kill_agent(vm)
    told = look(vm)
    assert told["sigbus"] == told["pages"]
    assert told["right"] == 0
    assert told["wait_errno"] == errno.EIO
    # Neither the peer nor anybody else gets bytes out of it, and what was elsewhere stays.
    assert told["pulled"] == told["pushed"] == told["more_lost"] == 0
    unload(vm)


@pytest.mark.parametrize("config", ["oversubscribed"], indirect=True)
def test_a_lost_device_releases_its_mirrors(vm: Machine) -> None:
    """At once, while the process lives, and not a second time when it ends."""
    events = "/sys/kernel/tracing/events/devmodel"
    vm.run(f"echo 1 | tee {events}/devmodel_register/enable {events}/devmodel_release/enable")
    count = "grep -c ' devmodel_{}:' /sys/kernel/tracing/trace"
    hold(vm)
    assert vm.run(count.format("register")).stdout == "1\n"
    assert vm.run(count.format("release")).stdout == "0\n"
    kill_agent(vm)
    vm.run(f"until {count.format('release')}; do usleep 10000; done", timeout=30).check()
    look(vm)
    vm.run("while pidof dm-lost; do usleep 10000; done", timeout=30).check()
    assert vm.run(count.format("release")).stdout == "1\n"
    unload(vm)


@pytest.mark.parametrize("config", ["oversubscribed"], indirect=True)
def test_a_lost_device_is_unbound(vm: Machine) -> None:
    hold(vm)
    kill_agent(vm)
    vm.run(f"echo {function(vm)} >{DRIVER}/unbind", timeout=30).check()
    assert "512 pages could not be brought back and stay lost" in vm.dmesg()
    assert vm.run(["modprobe", "-r", "devmodel"]).exit_code != 0
    told = look(vm)
    assert told["sigbus"] == told["pages"]
    unload(vm)


@pytest.mark.parametrize("config", ["oversubscribed"], indirect=True)
def test_unloading_waits_for_lost_pages(vm: Machine) -> None:
    """Nobody has the device open, so nothing stops rmmod; but pages lead into the module."""
    hold(vm, "--closed")
    kill_agent(vm)
    vm.run("(modprobe -r devmodel; echo $? >/tmp/unloaded) >/dev/null 2>&1 &").check()
    vm.run("until dmesg | grep -q 'unloading waits'; do usleep 10000; done", timeout=30).check()
    told = look(vm)
    assert told["sigbus"] == told["pages"]
    vm.run("until [ -s /tmp/unloaded ]; do usleep 10000; done", timeout=30).check()
    assert vm.run(["cat", "/tmp/unloaded"]).stdout == "0\n"
    assert vm.run("grep devmodel /proc/modules").stdout == ""


@pytest.mark.parametrize("config", ["oversubscribed", "mixed-devices"], indirect=True)
def test_unloading_brings_all_pages_home(vm: Machine) -> None:
    hold(vm, "--closed")
    vm.run(["modprobe", "-r", "devmodel"], timeout=60).check()
    told = look(vm)
    assert told["right"] == told["pages"]
    vm.run(["modprobe", "devmodel"], timeout=60).check()


@pytest.mark.parametrize("config", ["oversubscribed"], indirect=True)
def test_a_device_is_lost_in_the_middle_of_evictions(vm: Machine) -> None:
    """All processes come to an end, and the driver can go."""
    work = "dm-test-evict --test 'four processes, on touch'"
    vm.run(f"({work}; echo $? >/tmp/ended) >/tmp/log 2>&1 &").check()
    stats = "/sys/kernel/debug/devmodel/0/stats"
    vm.run(
        f"until grep -q 'pages_evicted  *[1-9][0-9][0-9]' {stats}; do :; done", timeout=60
    ).check()
    kill_agent(vm)
    vm.run("until [ -s /tmp/ended ]; do usleep 10000; done", timeout=150).check()
    assert vm.run(["cat", "/tmp/ended"]).stdout == "1\n", vm.run(["cat", "/tmp/log"]).stdout
    unload(vm)


STATS = "/sys/kernel/debug/devmodel/0/stats"


def aside(vm: Machine) -> int:
    """Pages that are kept aside."""
    return int(vm.run(f"awk '/^pages_aside/ {{ print $2 }}' {STATS}").check().stdout)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("config", ["private", "coherent", "mirror"], indirect=True)
def test_a_device_that_stops_writes_to_nobody_elses_memory(vm: Machine) -> None:
    """In the middle of its work, until long after it was given up; then it goes on."""
    pid = vm.devices[0].pid
    vm.expect_device_lost()
    work = "while :; do dm-run fill @33554432 4194304 7; done"
    vm.run(f"({work}) >/dev/null 2>&1 & echo $! >/tmp/work").check()
    vm.run("dm-run atomic_add @4096 1000000000000 1 >/dev/null 2>&1 &").check()
    busy = "until grep -q '^programs *[1-9]' /sys/kernel/debug/devmodel/0/stats; do :; done"
    vm.run(busy, timeout=30).check()
    os.kill(pid, signal.SIGSTOP)
    try:
        vm.run("kill $(cat /tmp/work); killall -9 dm-run; true").check()
        lost = f"until grep -q '^lost *1' {STATS}; do usleep 10000; done; cat {STATS}"
        vm.run(lost, timeout=60).check()
        # All that it had mapped, and it is nobody's: what others take meanwhile is other memory.
        assert aside(vm) > 4
        vm.run("dd if=/dev/zero of=/dev/shm/all bs=1M count=64 2>/dev/null").check()
    finally:
        # Unless it has been ended meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    vm.run(f"until grep -q '^pages_aside *0' {STATS}; do usleep 10000; done", timeout=30).check()
    # Nothing but zeros.
    assert vm.run("tr -d '\\0' </dev/shm/all | wc -c", timeout=60).check().stdout.strip() == "0"
    vm.run("rm /dev/shm/all").check()
    unload(vm)
    if not vm.lost_devices:
        vm.run("modprobe devmodel && dm-test-access", timeout=60).check()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_device_that_never_goes_on_is_ended(vm: Machine) -> None:
    """Only then is it known that it writes nothing any more."""
    vm.expect_device_lost()
    hold(vm)
    os.kill(vm.devices[0].pid, signal.SIGSTOP)
    vm.run("killall -9 dm-lost; true").check()
    assert vm.wait_change(60)
    assert vm.lost_devices == (0,)
    vm.run(f"until grep -q '^pages_aside *0' {STATS}; do usleep 10000; done", timeout=30).check()
    unload(vm)
