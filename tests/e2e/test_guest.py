"""The guest's own tests, each a result of its own, on every memory model where it applies."""

import pytest
from guest_tests import CONFIGS, all_tests, programs

from devmodel.experiment import ktap
from devmodel.experiment.ktap import Outcome
from devmodel.machine import Machine

SECONDS = 180

# By configuration, so that each one's VM boots once.
CASES = [
    pytest.param(config, test.program, test.name, id=f"{config}-{test.program}-{test.name}")
    for config in CONFIGS
    for test in all_tests()
    if config in test.configs
]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(("config", "program", "name"), CASES, indirect=["config"])
def test_guest(vm: Machine, program: str, name: str) -> None:
    done = vm.run([program, "--test", name], timeout=SECONDS)
    run = ktap.parse(done.stdout)
    assert run.trouble is None, done.stdout + done.stderr
    (case,) = run.cases
    assert case.name == name
    if case.outcome is Outcome.SKIPPED:
        pytest.skip("; ".join(case.notes))
    assert case.outcome is Outcome.PASSED, "\n".join(case.notes)
    assert done.exit_code == 0


@pytest.mark.parametrize("config", ["mirror"], indirect=True)
def test_every_guest_test_is_known_here(vm: Machine) -> None:
    for program in programs():
        listed = vm.run([program, "--list"]).check().stdout.splitlines()
        assert listed == [test.name for test in all_tests() if test.program == program]
