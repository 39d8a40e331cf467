"""`devmodel top` beside a guest whose device works."""

import json
import subprocess
import sys

import pytest

from devmodel.machine import Machine

pytestmark = pytest.mark.timeout(300)
# 16 MiB, over and over: for as long as it is looked at.
WORK = "while :; do dm-run fill @16777216 2097152 7 >/dev/null || exit 1; done"


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_what_a_device_does_is_seen_from_outside(vm: Machine) -> None:
    # So that pages move, and HBM is in use.
    vm.run("echo on_touch >/sys/module/devmodel/parameters/policy").check()
    vm.run(f"({WORK}) >/dev/null 2>&1 & echo $! >/tmp/work").check()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "devmodel.cli.main", "top", vm.name]
            + ["--json", "--interval", "0.5", "--count", "12"],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    finally:
        vm.run("kill $(cat /tmp/work); rm /tmp/work").check()
        vm.run("echo in_place >/sys/module/devmodel/parameters/policy").check()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(line["vm"], line["model"], line["state"]) for line in lines} == {
        (vm.name, "private", "ready")
    }
    for name in ("faults_per_second", "invalidates_per_second", "hbm_bytes_in_use"):
        assert max(line[name] for line in lines) > 0, name
    contexts = [context for line in lines for context in line["contexts"]]
    assert max(context["faults_per_second"] for context in contexts) > 0
    # The guest says the same of it.
    vm.run("while dm-stats --json | grep -qv '\"mirrors\": 0'; do :; done", timeout=60).check()
    told = json.loads(vm.run(["dm-stats", "--json"]).check().stdout)
    done = subprocess.run(
        [sys.executable, "-m", "devmodel.cli.main", "top", vm.name, "--json", "--count", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["hbm_bytes_in_use"] == told["hbm_bytes_in_use"] == 0
    assert line["contexts"] == []
