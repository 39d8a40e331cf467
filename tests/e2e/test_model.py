"""Random operations on a process's memory against a plain model, under each memory model."""

import os
import random
import re

import pytest
from depth import rounds

from devmodel.machine import Machine
from devmodel.testing.device import Device

# More of them, of eight processes, are in test_stress.py.
OPERATIONS = rounds(5_000, 30_000)
FEW_OPERATIONS = rounds(2_000, 10_000)
SECONDS = 600


@pytest.mark.timeout(SECONDS + 120)
def test_random_operations_agree_with_a_plain_model(vm: Machine, config: str) -> None:
    # Another one each time; the guest prints it with whatever it finds. To see it again:
    # DEVMODEL_SEED=N python -m pytest tests/e2e/test_model.py
    seed = int(os.environ.get("DEVMODEL_SEED") or random.SystemRandom().getrandbits(32))
    command = ["dm-model", "--ops", str(OPERATIONS), "--seed", str(seed)]
    done = vm.run(command, timeout=SECONDS)
    assert done.exit_code == 0, done.stderr
    assert f"{OPERATIONS} operations agree: model {config}, seed {seed}" in done.stdout
    moved = re.search(r"pages moved +(\d+)", done.stdout)
    assert moved
    assert (int(moved[1]) > 0) == (config != "mirror")


HOG = """
rm -f /tmp/done
until [ -e /tmp/done ]; do dm-test-evict --test 'four processes, on touch'; done >/tmp/hog 2>&1 &
"""


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("config", ["oversubscribed"], indirect=True)
def test_pages_are_evicted_at_any_time(vm: Machine, device: Device) -> None:
    """Others want all of the HBM, several times over, while the model's operations go on."""
    command = (
        "dm-model --ops 3000 --pages 1024 --seed 1; code=$?; touch /tmp/done; wait; exit $code"
    )
    done = vm.run(HOG + command, timeout=SECONDS)
    assert done.exit_code == 0, done.stderr
    assert device.counters().pages_evicted > 1000


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("pages", [16, 4096])
def test_few_pages_and_many(vm: Machine, pages: int) -> None:
    """Few: everything collides. Many: little does, and the tables grow."""
    command = ["dm-model", "--ops", str(FEW_OPERATIONS), "--pages", str(pages), "--seed", "1"]
    done = vm.run(command, timeout=SECONDS)
    assert done.exit_code == 0, done.stderr
