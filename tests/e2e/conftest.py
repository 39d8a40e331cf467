"""Booted guests for the tests: one VM for each configuration, its devices reset before each test.

A test that takes `vm` runs once for each of CONFIGS. One that is for some of them says so::

    @pytest.mark.parametrize("config", ["private"], indirect=True)
    def test_something(vm: Machine) -> None: ...

A configuration's name with a kernel behind it, as in "private@7.2-own", is that configuration on
that kernel. It is skipped unless DEVMODEL_KERNELS asks for it (`make test KERNELS=7.2-own`); so is
model cdm, but where its kernel is here already.

`config` has session scope, so pytest groups the tests by it and one VM runs at a time. A test
fails if the guest's kernel complained during it, unless it called `vm.expect(...)`. A guest that
died is booted again for the next test.
"""

from collections.abc import Iterator

import pytest
from configurations import load, skip_unless_wanted

from devmodel.errors import GuestError
from devmodel.machine import Machine
from devmodel.progress import Reporter

CONFIGS = ("mirror", "private", "coherent")
RESET_SECONDS = 60.0


class Fleet:
    """The VM that runs now; asking for another configuration's ends it first."""

    def __init__(self) -> None:
        self._name = ""
        self._vm: Machine | None = None

    def get(self, name: str) -> Machine:
        """The VM of a configuration, booted if it does not run, or did not survive a test."""
        vm = self._vm
        if vm is not None and (name != self._name or not vm.alive or vm.lost_devices):
            self.end()
            vm = None
        if vm is None:
            vm = Machine(load(name), reporter=Reporter())
            vm.start()
            self._name, self._vm = name, vm
        return vm

    def end(self) -> None:
        """End the VM that runs, if one does."""
        if self._vm is not None:
            self._vm.close()
            self._vm = None


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """All VMs of this session, one at a time."""
    fleet = Fleet()
    yield fleet
    fleet.end()


@pytest.fixture(scope="session", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> str:
    """The configuration's name."""
    name = str(request.param)
    skip_unless_wanted(name)
    return name


@pytest.fixture
def vm(fleet: Fleet, config: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A VM of the configuration, as good as fresh."""
    vm = fleet.get(config)
    vm.forget()
    vm.run(["dm-reset"], timeout=RESET_SECONDS).check()
    log = vm.folder
    yield vm
    try:
        vm.check()
    except GuestError as error:
        pytest.fail(f"{error}\n{error.details}")
    finally:
        request.node.add_report_section("teardown", "logs", str(log))


@pytest.fixture(scope="session")
def no_vm(fleet: Fleet) -> Fleet:
    """For tests that start VMs of their own: no other one runs meanwhile."""
    fleet.end()
    return fleet
