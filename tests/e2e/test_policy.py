"""A machine's policy, from its description to what a device's touch does."""

import json
from collections.abc import Iterator

import pytest

from devmodel.experiment import ktap
from devmodel.experiment.ktap import Outcome
from devmodel.machine import Machine, MachineConfig
from devmodel.machine.config import Policy

SECONDS = 180
PARAMETER = "/sys/module/devmodel/parameters/policy"
# A program that knows nothing of advice.
SUM = "dm-stats --json --output /tmp/counts -- dm-run sum @65536 8192 >/dev/null; cat /tmp/counts"

pytestmark = [pytest.mark.timeout(SECONDS + 120), pytest.mark.machine("private")]


@pytest.fixture(scope="module")
def on_touch(no_vm: object) -> Iterator[Machine]:
    """One machine for all the tests, by its description."""
    del no_vm
    config = MachineConfig.load("private").model_copy(update={"policy": Policy.ON_TOUCH})
    with Machine(config) as vm:
        yield vm


def moved(vm: Machine) -> int:
    counts = json.loads(vm.run(SUM).check().stdout)
    assert counts["device_faults"] > 0
    return int(counts["pages_to_device"])


def test_a_touch_moves_where_the_machine_says_so(on_touch: Machine) -> None:
    assert on_touch.run(["cat", PARAMETER]).stdout == "on_touch\n"
    assert moved(on_touch) >= 16


@pytest.mark.parametrize("program", ["dm-test-policy", "dm-test-errors", "dm-test-process"])
def test_guest(on_touch: Machine, program: str) -> None:
    done = on_touch.run([program], timeout=SECONDS)
    run = ktap.parse(done.stdout)
    assert run.trouble is None, done.stdout + done.stderr
    failed = [case for case in run.cases if case.outcome is Outcome.FAILED]
    assert not failed, "\n".join(f"{case.name}: {'; '.join(case.notes)}" for case in failed)


def test_random_operations_agree_with_a_plain_model(on_touch: Machine) -> None:
    done = on_touch.run(["dm-model", "--ops", "3000"], timeout=SECONDS)
    assert done.exit_code == 0, done.stderr


def test_it_holds_when_the_driver_comes_back(on_touch: Machine) -> None:
    on_touch.run("modprobe -r devmodel && modprobe devmodel", timeout=60).check()
    assert moved(on_touch) >= 16


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_it_can_be_changed_while_the_machine_runs(vm: Machine) -> None:
    assert vm.run(["cat", PARAMETER]).stdout == "in_place\n"
    assert moved(vm) == 0
    try:
        vm.run(f"echo on_touch >{PARAMETER}").check()
        assert moved(vm) >= 16
    finally:
        vm.run(f"echo in_place >{PARAMETER}").check()
    assert moved(vm) == 0


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_an_unknown_policy_is_refused(vm: Machine) -> None:
    vm.run(["modprobe", "-r", "devmodel"]).check()
    try:
        assert vm.run(["modprobe", "devmodel", "policy=lazy"]).exit_code != 0
        assert "policy=lazy: this driver knows in_place and on_touch" in vm.dmesg()
        vm.run(["modprobe", "devmodel", "policy=on_touch"]).check()
        assert moved(vm) >= 16
    finally:
        vm.run("modprobe -r devmodel; modprobe devmodel").check()
    assert moved(vm) == 0
