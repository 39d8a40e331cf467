"""`devmodel probe`: what comes to lie on the device's node, and what may."""

import json
import subprocess
import sys
from typing import Any

import pytest
from depth import LONG

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(400)]

FIELDS = {"name": str, "asked": str, "arrived": int, "allowed": bool, "ok": bool}
# Ways in which a plain node takes pages that nobody asked it for: the spill.
SPILLS = {
    "anonymous",
    "mlock",
    "page-cache",
    "tmpfs",
    "tmpfs-interleave",
    "thp",
    "swap-in",
    "fork-policy",
    "fork-cow",
    "cpuset",
    "interleave-allowed",
    "oom",
    "demotion",
    "ksm",
    "collapse-mixed",
    "collapse-shared",
    "offline",
    "hugetlb-pool",
    "hugetlb-fault",
    "hugetlb-surplus",
    "cpuset-named-unasked",
    "interleave-all",
    "bind-all",
    "preferred-all",
    "remote-write",
    "swap-readahead",
    "available",
    "commit-limit",
    "commit-limit-huge",
    "dirty-limit",
}
# Never: not in movable memory, or not allowed.
NEVER = {"slab", "page-tables", "long-term-pin", "cpuset-contained"}


def probe(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devmodel.cli.main", "probe", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)


def probes(model: str) -> dict[str, dict[str, Any]]:
    done = probe("--model", model, "--json", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["probes"]
    for row in found["probes"]:
        assert {name: type(value) for name, value in row.items()} == FIELDS
        assert row["asked"] in ("node", "nothing")
        assert row["ok"] is True
    return {row["name"]: row for row in found["probes"]}


@pytest.mark.skipif(not LONG, reason="a minute for what the kernel does with any node: LONG=1")
def test_a_plain_node_takes_what_nobody_asked_it_for() -> None:
    found = probes("numa")
    unasked = {name for name, row in found.items() if row["asked"] == "nothing"}
    assert unasked == SPILLS | NEVER
    for name in SPILLS:
        assert found[name]["allowed"] and found[name]["arrived"] > 0, name
    for name in NEVER:
        assert not found[name]["allowed"] and found[name]["arrived"] == 0, name
    for name in found.keys() - unasked - {"numa-balancing"}:
        assert found[name]["allowed"] and found[name]["arrived"] > 0, name


@pytest.mark.machine("cdm")
def test_a_node_of_coherent_device_memory_takes_what_names_it_and_nothing_else() -> None:
    found = probes("cdm")
    assert found.keys() >= SPILLS | NEVER
    for name, row in found.items():
        unasked = name in SPILLS | NEVER
        assert row["asked"] == ("nothing" if unasked else "node")
        assert row["allowed"] is not unasked
        assert (row["arrived"] == 0) is unasked, name


def test_one_probe_as_a_table() -> None:
    done = probe("--model", "numa", "preferred")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "set_mempolicy" in line]
    assert row.split()[:6] == ["preferred", "node", "1024", "1024", "yes", "yes"]
