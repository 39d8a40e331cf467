"""Booted guests for the tests: one VM for each configuration, its devices reset before each test.

A test that takes `vm` runs once for each of CONFIGS. One that is for some of them says so::

    @pytest.mark.parametrize("config", ["private"], indirect=True)
    def test_something(vm: Machine) -> None: ...

A configuration's name with a kernel behind it, as in "private@7.2-own", is that configuration on
that kernel; `@pytest.mark.machine(NAME)` says so of a test without `config`. They are left out
unless DEVMODEL_KERNELS asks for that kernel (`make test KERNELS=7.2-own`); so is model cdm, but
where its kernel is here already. A line for each kernel at the end says how many that were.

`config` has session scope, so pytest groups the tests by it and one VM runs at a time in each
process that runs tests; `make test` has one for each processor (pytest-xdist). A test fails if the
guest's kernel complained during it, unless it called `vm.expect(...)`. A guest that died is booted
again for the next test.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from configurations import load, missing_kernel

from devmodel.errors import GuestError
from devmodel.machine import Machine
from devmodel.progress import Reporter

CONFIGS = ("mirror", "private", "coherent")
RESET_SECONDS = 60.0
FOLDER = Path(__file__).parent


LEFT_OUT: Counter[str] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a kernel that nobody asked for."""
    here, away = [], []
    known: dict[str, str | None] = {}
    for item in items:
        names = [str(name) for mark in item.iter_markers("machine") for name in mark.args]
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        group = str(item.path.relative_to(config.rootpath))
        if "config" in parameters and "config" in getattr(item, "fixturenames", ()):
            names.append(str(parameters["config"]))
            group = names[-1]
        # Side by side with `pytest -n`: a VM's tests go to one process, others' by their file.
        item.add_marker(pytest.mark.xdist_group(group))
        kernels = set()
        for name in names if FOLDER in item.path.parents else []:
            if name not in known:
                known[name] = missing_kernel(name)
            kernels.add(known[name])
        missing = sorted(kernel for kernel in kernels if kernel is not None)
        LEFT_OUT.update(missing[:1])
        (away if missing else here).append(item)
    if away:
        config.hook.pytest_deselected(items=away)
        items[:] = here


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each kernel."""
    for kernel, count in LEFT_OUT.items():
        terminalreporter.write_line(
            f"{count} tests on kernel {kernel} were not asked for: make test KERNELS={kernel}"
        )


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


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The VMs of each process that runs tests are nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVMODEL_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """All VMs of this session, one at a time."""
    fleet = Fleet()
    yield fleet
    fleet.end()


@pytest.fixture(scope="session", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> str:
    """The configuration's name."""
    return str(request.param)


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
