"""The model test under pressure: eight processes, two devices, and all that moves pages at work.

Swap, reclaim of a memory cgroup, compaction, NUMA balancing, KSM and khugepaged go on all the
time, HBM is far too small, and the coherence oracle looks at every access of both devices.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from configurations import load
from depth import LONG

from devmodel.cli.main import main
from devmodel.machine import Machine
from devmodel.machine.launch import Options
from devmodel.progress import Reporter
from devmodel.testing.device import Device

# Fewer of them leave room in HBM.
OPERATIONS = 50_000
ROUNDS = 2
PROCESSES = 8
SECONDS = 900

# Everything as eager as it can be told to be.
PRESSURE = """
set -e
modprobe -q brd rd_nr=1 rd_size=262144 || :
mkswap /dev/ram0 >/dev/null
swapon /dev/ram0
cd /sys/kernel/mm
echo madvise > transparent_hugepage/enabled
echo 100 > transparent_hugepage/khugepaged/scan_sleep_millisecs
echo 100 > transparent_hugepage/khugepaged/alloc_sleep_millisecs
echo 4096 > transparent_hugepage/khugepaged/pages_to_scan
echo 1000 > ksm/pages_to_scan
echo 20 > ksm/sleep_millisecs
echo 1 > ksm/run
echo 1 > /proc/sys/kernel/numa_balancing
mkdir /sys/fs/cgroup/model
echo 60M > /sys/fs/cgroup/model/memory.high
(while sleep 1; do echo 1 > /proc/sys/vm/compact_memory; done) >/dev/null 2>&1 </dev/null &
"""
MODEL = (
    "echo $$ > /sys/fs/cgroup/model/cgroup.procs && exec dm-model --ops {ops} --seed {seed} "
    "--processes {processes} --device /dev/devmodel0 --device /dev/devmodel1"
)
# What must have happened, by its name in /proc/vmstat, in /sys/kernel/mm or among our own counters.
HAPPENED = (
    "pages_evicted",
    "pages_from_peer",
    "pswpout",
    "pswpin",
    "compact_migrate_scanned",
    "numa_pte_updates",
    "numa_hint_faults",
    "numa_pages_migrated",
    "thp_fault_alloc",
    "thp_collapse_alloc",
    "thp_split_page",
    "thp_split_pmd",
    "cow_ksm",
    "ksm/full_scans",
    "transparent_hugepage/khugepaged/full_scans",
)


def counters(vm: Machine) -> dict[str, int]:
    """/proc/vmstat, how often khugepaged and ksmd have been round, and device 0's own."""
    lines = vm.run(["cat", "/proc/vmstat"]).check().stdout.splitlines()
    found = {name: int(value) for name, value in (line.split() for line in lines)}
    for name in ("ksm/full_scans", "transparent_hugepage/khugepaged/full_scans"):
        found[name] = int(vm.run(["cat", f"/sys/kernel/mm/{name}"]).check().stdout)
    return found | dict(Device(vm).counters())


@pytest.fixture
def traces(tmp_path: Path) -> Iterator[Path]:
    """A folder for traces, which are large."""
    folder = tmp_path / "traces"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run_model(vm: Machine) -> None:
    """Until the counters say that what was to happen did, or, if there is time, all of it."""
    seed = int(os.environ.get("DEVMODEL_SEED") or random.SystemRandom().getrandbits(32))
    vm.run(["sh", "-c", PRESSURE]).check()
    before = counters(vm)
    missing = set(HAPPENED)
    for number in range(ROUNDS):
        model = MODEL.format(ops=OPERATIONS, seed=seed + number, processes=PROCESSES)
        done = vm.run(["sh", "-c", model], timeout=SECONDS)
        assert done.exit_code == 0, done.stderr
        assert f"{OPERATIONS} operations agree: model private and coherent" in done.stdout
        after = counters(vm)
        missing = {name for name in HAPPENED if after[name] == before[name]}
        if not missing and not LONG:
            break
    assert not missing, after


@pytest.mark.timeout(SECONDS + 600)
def test_the_model_holds_under_pressure(
    traces: Path, no_vm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    no_vm.end()
    with Machine(load("stress"), reporter=Reporter(), options=Options(trace=traces)) as vm:
        run_model(vm)
    assert main(["check", str(traces)]) == 0, capsys.readouterr().out
