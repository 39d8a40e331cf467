"""Random operations on a process's memory against a plain model, under each memory model."""

import os
import random
import re

import pytest

from devmodel.machine import Machine

OPERATIONS = 100_000
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


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("pages", [16, 4096])
def test_few_pages_and_many(vm: Machine, pages: int) -> None:
    """Few: everything collides. Many: little does, and the tables grow."""
    command = ["dm-model", "--ops", "10000", "--pages", str(pages), "--seed", "1"]
    done = vm.run(command, timeout=SECONDS)
    assert done.exit_code == 0, done.stderr
