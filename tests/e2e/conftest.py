"""Booted guests for the tests: one VM for each configuration, its devices reset after each test.

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
again for the next test. All that is the plugin's that devmodel ships (devmodel/testing); here is
which machines there are.
"""

from collections import Counter
from pathlib import Path

import pytest
from configurations import load, missing_kernel

from devmodel.machine import MachineConfig
from devmodel.testing.pool import Pool

CONFIGS = ("mirror", "private", "coherent")
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


@pytest.fixture(scope="session", autouse=True)
def state(devmodel_state: Path) -> Path:
    """The VMs of each process that runs tests are nobody else's, those of commands too."""
    return devmodel_state


@pytest.fixture(scope="session", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> str:
    """The configuration's name."""
    return str(request.param)


@pytest.fixture
def devmodel_config(config: str) -> MachineConfig:
    """The plugin's `vm` boots it."""
    return load(config)


@pytest.fixture(scope="session")
def no_vm(devmodel_pool: Pool) -> Pool:
    """For tests that start VMs of their own: no other one runs meanwhile."""
    devmodel_pool.end()
    return devmodel_pool
