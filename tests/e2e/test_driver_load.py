"""The driver comes and goes without leaving anything behind."""

import re

import pytest
from depth import rounds

from devmodel.machine import Machine
from devmodel.testing.device import Device

MODELS = ("mirror", "private", "coherent")
# Kernels on which free pages can be counted to some ten; the distribution's keeps slabs by chance.
COUNTING = ("cdm", "7.2-own", "6.1-own")
# Newer ones keep executable memory in blocks of this many pages, and give them back when they like:
# a whole block more or less says nothing, and more slabs come and go.
BLOCK, BLOCK_NOISE = 512, 80
OLD = "6.1"
LOADS = rounds(5, 20)
# Free pages differ by some ten from one look to the next, whatever else happens in the guest.
NOISE = 40
LOOKS = 3
WINDOWS = 3

USE = "dm-run fill @65536 8192 7 && dm-test-process --test 'kill -9 gives everything back'"

FREE_PAGES = """
sync; echo 3 >/proc/sys/vm/drop_caches; echo 1 >/proc/sys/vm/compact_memory
awk '/^ *count:/ { pcp += $2 } /^ *nr_free_pages/ { free += $2 } END { print free + pcp }' \
    /proc/zoneinfo
"""


def unload(vm: Machine) -> None:
    vm.run(["modprobe", "-r", "devmodel"], timeout=60).check()


def load(vm: Machine) -> None:
    vm.run(["modprobe", "devmodel"], timeout=60).check()


def free_pages(vm: Machine) -> int:
    """Pages that nobody uses, those in the processors' own lists included.

    What was let go of becomes free when the guest comes to it, which on a loaded host takes a
    while: this looks until the last LOOKS have brought nothing new.
    """
    looks: list[int] = []
    while len(looks) < LOOKS or max(looks[-LOOKS:]) > max(looks[:-LOOKS], default=0) + NOISE:
        looks.append(int(vm.run(FREE_PAGES).check().stdout))
    return max(looks)


def regions(vm: Machine) -> str:
    return vm.run(["cat", "/proc/iomem"]).check().stdout


def traces(vm: Machine) -> dict[str, str]:
    """Where an unloaded driver could still be seen."""
    commands = {
        "memory map": "cat /proc/iomem",
        "interrupts": "grep devmodel /proc/interrupts",
        # The rings are in one of these.
        "mappings": "grep -o 'phys=.*' /proc/vmallocinfo | sort",
        "device nodes": "ls /dev | grep devmodel",
        "debugfs": "ls /sys/kernel/debug | grep devmodel",
        "threads": "ps | grep '[d]evmodel'",
        "module": "grep devmodel /proc/modules",
        "slabs": "grep devmodel /proc/slabinfo",
    }
    return {name: vm.run(command).stdout for name, command in commands.items()}


def is_lost(pages: int, config: str) -> bool:
    """Whether so many pages less after some work is more than chance."""
    if OLD in config:
        return pages >= NOISE
    return abs((pages + BLOCK // 2) % BLOCK - BLOCK // 2) >= BLOCK_NOISE


def counting(*models: str) -> list[str]:
    return [f"{model}@{kernel}" for kernel in COUNTING for model in models]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", [*MODELS, *counting(*MODELS)], indirect=True)
def test_many_loads_leave_nothing(vm: Machine, config: str) -> None:
    with_driver = regions(vm)
    unload(vm)
    clean = traces(vm)
    assert clean["module"] == clean["device nodes"] == clean["interrupts"] == ""
    assert clean["debugfs"] == clean["threads"] == ""
    for _ in range(LOADS):
        load(vm)
        vm.run(USE, timeout=120).check()
        unload(vm)
    assert traces(vm) == clean
    load(vm)
    if not config.startswith("private"):
        assert regions(vm) == with_driver
    stats = Device(vm).counters()
    assert stats.hbm_bytes_in_use == stats.mirrors == stats.page_table_pages == 0
    assert_no_leaks_seen(vm)


def assert_no_leaks_seen(vm: Machine) -> None:
    """Where the kernel has a leak detector (debug-kernel, booted with kmemleak=on), ask it."""
    scan = "echo scan >/sys/kernel/debug/kmemleak"
    if vm.run(f"test -e /sys/kernel/debug/kmemleak && {scan}", timeout=120).exit_code:
        return
    # What was allocated a moment ago is not reported.
    vm.run(f"sleep 6; {scan}", timeout=120).check()
    assert "devmodel" not in vm.run("cat /sys/kernel/debug/kmemleak").stdout


def assert_nothing_lost(vm: Machine, config: str, work: str, warm: int, times: int) -> None:
    """Work, again and again: what leaks leaks again, what the kernel keeps by chance does not."""
    loop = "i=0; while [ $i -lt {} ]; do {} || exit 1; i=$((i + 1)); done >/dev/null"
    vm.run(loop.format(warm, work), timeout=300).check()
    lost = []
    while len(lost) < WINDOWS and (not lost or is_lost(lost[-1], config)):
        before = free_pages(vm)
        vm.run(loop.format(times, work), timeout=500).check()
        lost.append(before - free_pages(vm))
    assert not is_lost(lost[-1], config), f"pages lost in {times} rounds, each time: {lost}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", counting(*MODELS), indirect=True)
def test_a_hundred_more_loads_lose_no_page(vm: Machine, config: str) -> None:
    """A single page lost at each load would be a hundred, which is more than chance."""
    work = "modprobe -r devmodel && modprobe devmodel && dm-run fill @65536 8192 7"
    assert_nothing_lost(vm, config, work, 10, 100)


# What follows has to do with mirrors, which are the same under every model.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("config", counting("private"), indirect=True)
def test_a_thousand_mirrors_lose_no_page(vm: Machine, config: str) -> None:
    """Each with a page table, a program and a fault."""
    assert_nothing_lost(vm, config, "dm-run atomic_add @4096 3 1", 100, 1000)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", counting("private"), indirect=True)
def test_launches_that_nobody_waits_for_lose_no_page(vm: Machine, config: str) -> None:
    """Sixteen programs at work when their process ends, three hundred times."""
    work = "dm-test-process --test 'exit while programs run'"
    assert_nothing_lost(vm, config, work, 50, 300)


def test_unloading_is_refused_while_a_program_has_it_open(vm: Machine) -> None:
    hold = "(sleep 20 </dev/devmodel0 & echo $!)"
    pid = vm.run(hold).check().stdout.strip()
    try:
        assert vm.run(["modprobe", "-r", "devmodel"]).exit_code != 0
    finally:
        vm.run(["kill", pid]).check()
    unload(vm)
    load(vm)


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_no_hbm_in_the_address_map(vm: Machine) -> None:
    """No PCI function of the guest decodes a range that could be HBM (256 MiB here)."""
    sizes = [
        int(match[2], 16) - int(match[1], 16) + 1
        for match in re.finditer(r"^ +(\w+)-(\w+) : 0000:", regions(vm), re.MULTILINE)
    ]
    assert sizes
    assert max(sizes) <= 16 << 20


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_guest_does_not_suspend_with_the_driver(vm: Machine) -> None:
    """What lies in HBM would be lost."""
    if "freeze" not in vm.run("cat /sys/power/state").stdout:
        pytest.skip("this kernel cannot suspend")
    assert vm.run("echo freeze >/sys/power/state", timeout=30).exit_code != 0
    assert "does not suspend: unload the driver first" in vm.dmesg()
    vm.run(["dm-test-access"], timeout=60).check()
