"""`devmodel top` beside a guest whose device works."""

import json
import subprocess
import sys
from typing import Any

import pytest

from devmodel.machine import Machine

pytestmark = pytest.mark.timeout(300)
# 16 MiB, over and over: for as long as it is looked at.
WORK = "while :; do dm-run fill @16777216 2097152 7 >/dev/null || exit 1; done"


def top(vm: Machine, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what is in each line, and what went to stderr."""
    command = [sys.executable, "-m", "devmodel.cli.main", "top", vm.name, "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_what_a_device_does_is_seen_from_outside(vm: Machine) -> None:
    # So that pages move, and HBM is in use.
    vm.run("echo on_touch >/sys/module/devmodel/parameters/policy").check()
    vm.run(f"({WORK}) >/dev/null 2>&1 & echo $! >/tmp/work").check()
    try:
        code, lines, said = top(vm, "--interval", "0.5", "--count", "12")
    finally:
        vm.run("kill $(cat /tmp/work); rm /tmp/work").check()
        vm.run("echo in_place >/sys/module/devmodel/parameters/policy").check()
    assert (code, said) == (0, "")
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
    code, (line,), said = top(vm, "--count", "1")
    assert (code, said) == (0, "")
    assert line["hbm_bytes_in_use"] == told["hbm_bytes_in_use"] == 0
    assert line["contexts"] == []
