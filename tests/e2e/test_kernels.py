"""Other kernels than the default one: the guest's own tests, the random operations, each model.

They are all that `devmodel kernels` names: other stock ones; own ones; those with the patch for
coherent device memory, which must change nothing for the models that have no use for it; and those
with KASAN, lockdep and friends, whose complaints fail a test.
"""

import pytest
import test_nodes
from guest_tests import CONFIGS, all_tests, programs

from devmodel.build.config import NAMED
from devmodel.build.series import SERIES
from devmodel.experiment.ktap import Outcome
from devmodel.machine import Machine
from devmodel.testing.subtests import Ktap

SECONDS = 1200
DEFAULT = "7.2"
OPERATIONS = 10_000
WHOLE_THP = [name for name in SERIES if SERIES[name].whole_thp and name != DEFAULT]
OTHERS = [name for name in NAMED if name != DEFAULT]
MODELS = ("mirror", "private", "coherent")
NODES = [f"numa@{kernel}" for kernel in OTHERS]
NODES += [f"cdm@{kernel}" for kernel in OTHERS if NAMED[kernel].cdm and kernel != "cdm"]
# All tests of a program at once, where most are of use; else one by one.
CASES = (
    [
        pytest.param(f"{config}@{kernel}", program, "", id=f"{config}@{kernel}-{program}")
        for kernel in OTHERS
        for config in MODELS
        for program in programs()
        if any(test.program == program and config in test.configs for test in all_tests())
    ]
    + [
        pytest.param(
            f"{config}@{kernel}", test.program, test.name, id=f"{config}@{kernel}-{test.name}"
        )
        for kernel in OTHERS
        for config in CONFIGS
        for test in all_tests()
        if config in test.configs and config not in MODELS
    ]
    + [
        pytest.param(config, program, "", id=f"{config}-{program}")
        for config in NODES
        for program in test_nodes.PROGRAMS
    ]
)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(("config", "program", "name"), CASES, indirect=["config"])
def test_guest(ktap: Ktap, program: str, name: str) -> None:
    ktap([program, *(["--test", name] if name else [])], timeout=SECONDS)


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("config", [f"private@{series}" for series in WHOLE_THP], indirect=True)
def test_no_huge_page_to_come_back_to(vm: Machine, ktap: Ktap) -> None:
    """The test interface can have an allocation fail, so the driver is loaded with it."""
    vm.run("modprobe -r devmodel && modprobe devmodel dmirror=1").check()
    run = ktap(["dm-test-thp", "--test", "no huge page to come back to"])
    assert run.count(Outcome.PASSED) == 1
    vm.run("modprobe -r devmodel && modprobe devmodel").check()


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    "config",
    [*(f"{config}@{kernel}" for kernel in OTHERS for config in MODELS), *NODES],
    indirect=True,
)
def test_random_operations_agree_with_a_plain_model(vm: Machine) -> None:
    done = vm.run(["dm-model", "--ops", str(OPERATIONS)], timeout=SECONDS)
    assert done.exit_code == 0, done.stderr
    assert f"{OPERATIONS} operations agree" in done.stdout


@pytest.mark.parametrize(
    "config", [f"{config}@{kernel}" for kernel in OTHERS for config in MODELS], indirect=True
)
def test_it_is_the_kernel_that_was_asked_for(vm: Machine, config: str) -> None:
    kernel = NAMED[config.partition("@")[2]]
    release = vm.run(["uname", "-r"]).stdout.strip()
    assert ("KernelAddressSanitizer initialized" in vm.dmesg()) == kernel.debug
    assert release.endswith("-cdm") == kernel.cdm
    series = kernel.source or SERIES[kernel.series or DEFAULT]
    assert release.startswith(f"{series.version}.")
