"""Devices of one machine among each other, beyond what dm-test-peers sees of two."""

from pathlib import Path

import pytest

from devmodel.experiment import ktap
from devmodel.experiment.ktap import Outcome
from devmodel.machine import Machine, MachineConfig

# As many as a machine may have; there are apertures for six.
DEVICES = 8


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_vm")
def test_devices_that_cannot_reach_each_other() -> None:
    """Pages of the last device go by way of system memory."""
    config = MachineConfig.parse(
        {"name": "test", "memory": "512M", "devices": [{"hbm": "8M"}] * DEVICES}, Path("/test.yaml")
    )
    with Machine(config) as vm:
        assert vm.run(["ls", f"/dev/devmodel{DEVICES - 1}"]).exit_code == 0
        done = vm.run(["dm-test-peers"], timeout=200)
        run = ktap.parse(done.stdout)
        assert run.trouble is None, done.stdout + done.stderr
        assert not [case for case in run.cases if case.outcome is Outcome.FAILED], done.stdout


@pytest.mark.parametrize("config", ["mixed-devices"], indirect=True)
def test_each_device_has_a_memory_model_of_its_own(vm: Machine) -> None:
    for number, model in enumerate(("private", "coherent")):
        info = vm.run(["dm-info", f"/dev/devmodel{number}"]).check().stdout
        assert f"model:       {model}" in info
    # Coherent HBM is in a BAR, private HBM is not.
    regions = vm.run(["cat", "/proc/iomem"]).check().stdout
    assert regions.count("devmodel private pages") == 1
