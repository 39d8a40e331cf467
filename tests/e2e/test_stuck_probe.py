"""A probe that nothing can kill: it is told where it is, and the next one is done."""

import json

import pytest

from devmodel.machine import Machine

pytestmark = pytest.mark.parametrize("config", ["numa"], indirect=True)
# For each of the two; then 10 s for what is killed.
SECONDS = "5"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("stuck", "is stuck in the kernel: "),
        ("stuck-setting", "putting settings back is stuck in the kernel: "),
    ],
)
def test_it_is_told_and_the_next_one_is_done(vm: Machine, name: str, what: str) -> None:
    """It writes to a file system that is frozen, until all probes have ended."""
    done = vm.run(["dm-probe", "--seconds", SECONDS, name, "bind"], timeout=90)
    assert done.exit_code == 1, done.stderr
    stuck, after = (json.loads(line) for line in done.stdout.splitlines())
    assert not stuck["ok"]
    # How the kernel calls the place has changed.
    assert stuck["why"].startswith(what) and "percpu" in stuck["why"]
    assert after["ok"] and not after["why"]
    state, *stack = done.stderr.splitlines()
    assert state.startswith("# ") and "dm-probe is still there. State: D (disk sleep)" in state
    assert any("percpu" in line for line in stack)
    assert vm.run("test -e /run/dm-probe || mount | grep dm-probe").exit_code == 1
    vm.run(["dm-probe", "bind"]).check()
