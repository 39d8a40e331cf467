"""The workloads in booted guests, and `devmodel compare` as a person or a script calls it."""

import json
import subprocess
import sys

import pytest

from devmodel.abi.counters import Counted
from devmodel.device.config import DeviceModel
from devmodel.experiment import job
from devmodel.experiment.config import Experiment
from devmodel.experiment.results import Result
from devmodel.machine import Machine

SHIPPED = Experiment.load()
# The word index has tests of its own.
PATTERNS = {item.title: item for item in SHIPPED.workloads if item.title != "wordindex"}
KEYS = {
    "model": str,
    "workload": str,
    "checked": bool,
    **{field.name: int for field in Counted.FIELDS},
    "spilled_pages": int,
    "wall_seconds": float,
}
PAGE = 4096
HBM = 256 << 20


def run(vm: Machine, name: str) -> Result:
    workload = PATTERNS[name]
    return job.run(vm, workload, seconds=SHIPPED.seconds(workload), texts={}).result


@pytest.mark.timeout(300)
@pytest.mark.parametrize("config", [model.value for model in DeviceModel], indirect=True)
def test_every_pattern_is_right(vm: Machine, config: str) -> None:
    # What takes long once: eviction is the same under every model.
    names = [name for name in PATTERNS if name != "oversubscribe" or config == "private"]
    results = {name: run(vm, name) for name in names}
    for name, result in results.items():
        assert (result.workload, result.model, result.checked) == (name, config, True)
        counted = result.counted
        assert counted.device_faults > 0, name
        # Only a node that is like any other takes what does not fit elsewhere.
        spills = config == "numa" and name == "hog"
        assert (result.spilled_pages > 0) == spills, name
        assert counted.remote_bytes <= counted.bytes_to_device + counted.bytes_to_system, name
    expected = {"mirror": in_place, "private": back_and_forth}
    expected.get(config, there_for_good)(results)


def in_place(results: dict[str, Result]) -> None:
    for name, result in results.items():
        counted = result.counted
        assert counted.pages_to_device == counted.pages_to_system == counted.cpu_faults == 0, name
        assert result.hbm_at_end == result.hbm_bytes_in_use == 0, name
        assert counted.remote_bytes == counted.bytes_to_device + counted.bytes_to_system > 0, name


def back_and_forth(results: dict[str, Result]) -> None:
    """What the CPU touches comes back: every page in every round, some at a time."""
    pages = {name: result.pages for name, result in results.items()}
    # Half of its memory is the device's alone.
    assert results["ping-pong"].counted.pages_to_system == 6 * pages["ping-pong"] // 2
    assert results["read-mostly"].counted.pages_to_system == 6 * pages["read-mostly"]
    for name in ("ping-pong", "read-mostly"):
        counted = results[name].counted
        assert 0 < counted.cpu_faults <= counted.pages_to_system, name
    touched = results["first-touch-device"]
    counted = touched.counted
    assert counted.pages_to_device == counted.pages_to_system == touched.pages
    # Empty pages are filled in HBM, not copied.
    assert counted.bytes_to_device == 0
    assert counted.bytes_to_system == touched.pages * PAGE
    assert touched.hbm_at_end == 0
    for name in ("first-touch-cpu", "stream", "hog"):
        assert results[name].hbm_at_end == pages[name], name
        assert results[name].counted.remote_bytes == 0, name
    check_oversubscribed(results["oversubscribe"])


def there_for_good(results: dict[str, Result]) -> None:
    """The CPU works on what lies in HBM; nothing comes back."""
    for name, result in results.items():
        assert result.counted.cpu_faults == 0, name
        assert result.counted.pages_to_system == result.counted.remote_bytes == 0, name
        assert result.hbm_at_end == result.counted.pages_to_device > 0, name
    assert results["ping-pong"].hbm_at_end == results["ping-pong"].pages


def check_oversubscribed(result: Result) -> None:
    """An eighth too much, read in the order that spares what was used last."""
    assert result.pages * PAGE == HBM * 9 // 8
    assert HBM * 7 // 8 < result.hbm_bytes_in_use <= HBM
    assert result.system_at_end + result.hbm_at_end == result.pages
    # Made room for: the last eighth, and the first once more. Some more, as room is made in bulk.
    assert HBM // 8 <= result.counted.pages_to_system * PAGE < HBM


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_pages_that_stay(vm: Machine) -> None:
    """With --in-place a device fault moves nothing."""
    done = vm.run(["patterns", "--in-place", "--mib", "1", "stream"]).check()
    result = Result.blank("private", "stream").told(done.stdout)
    assert result.checked
    assert result.pages == result.system_at_end == 256
    assert result.counted.pages_to_device == 0
    assert result.counted.remote_bytes > 0


@pytest.mark.parametrize("config", ["mirror"], indirect=True)
def test_a_hog_takes_what_there_is(vm: Machine) -> None:
    said = vm.run(["dm-hog"]).check().stdout.split()
    assert said[0] == "took"
    mib, free = int(said[1]), int(said[said.index("pages") - 1])
    low, least = int(said[said.index("are") + 1]), int(said[said.index("and") + 1].rstrip(";"))
    assert mib > 700
    # At the limit: below the mark where others would be asked, with something left.
    assert 0 < free < low
    assert least < low
    # And all of it is given back.
    kib = vm.run("awk '/^MemFree/ { print $2 }' /proc/meminfo").check().stdout
    assert int(kib) > 700 << 10


@pytest.mark.parametrize("config", ["mirror", "numa"], indirect=True)
@pytest.mark.parametrize("kib", [4 << 10, 88 << 10])
def test_a_hog_goes_by_the_marks_there_are(vm: Machine, config: str, kib: int) -> None:
    """From what a kernel keeps free without huge pages, to twice as much as it does with them."""
    setting = "/proc/sys/vm/min_free_kbytes"
    before = vm.run(["cat", setting]).check().stdout.strip()
    vm.run(f"echo {kib} > {setting}").check()
    try:
        result = run(vm, "hog")
    finally:
        vm.run(f"echo {before} > {setting}").check()
    assert result.checked
    assert (result.spilled_pages > 0) == (config == "numa")


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("no_vm")
def test_compare_as_json() -> None:
    command = [sys.executable, "-m", "devmodel.cli.main", "compare", "ping-pong", "--json"]
    command += ["--models", "private,coherent", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=360, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert list(results) == ["results", "samples", "made"]
    rows = {row["model"]: row for row in results["results"]}
    assert list(rows) == ["private", "coherent"]
    for row in rows.values():
        assert list(row)[: len(KEYS)] == list(KEYS)
        assert {name: type(row[name]) for name in KEYS} == KEYS
        assert row["checked"] is True
    # The agent's own memory goes with it; the window is the machine's.
    assert rows["private"]["device_lost"] == "SIGBUS"
    assert rows["coherent"]["device_lost"] == "kept"
