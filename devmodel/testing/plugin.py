"""The pytest plugin: options, marker, fixtures (docs/testing.md).

Loaded by the entry point `pytest11` in every pytest of an environment that has devmodel, so it
imports pytest alone, and its hooks look no further than whether a test has a guest.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devmodel.testing.settings import LOGS, OPTIONS, base, key, listed, option

if TYPE_CHECKING:
    from devmodel.machine import Machine, MachineConfig
    from devmodel.testing.device import Device
    from devmodel.testing.pool import Guest, Pool
    from devmodel.testing.subtests import Ktap

MARKER = (
    "devmodel(description, ..., scope='session', kernel=, policy=, append=, programs=, qemu=): "
    "the machine of a test that takes `vm`: a shipped description's name or a YAML file, with "
    "changes as of `devmodel run`; of several the test runs under each"
)
DESCRIPTION = "devmodel_description"
GUEST: pytest.StashKey[Guest] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option has an ini key of the same name."""
    group = parser.getgroup("devmodel", "devmodel: guests with heterogeneous memory")
    for name, metavar, meaning in OPTIONS:
        group.addoption(name, metavar=metavar, help=meaning)
        parser.addini(key(name), meaning)
    group.addoption(LOGS, metavar="DIR", help="keep the guests' logs in this folder")
    parser.addini(key(LOGS), "keep the guests' logs in this folder")


def pytest_configure(config: pytest.Config) -> None:
    """The marker is known."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs under each description that it, or the command line, names."""
    if DESCRIPTION not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("devmodel")
    names = [*marker.args] if marker and marker.args else listed(metafunc.config)
    if names:
        ids = [Path(str(name)).stem for name in names]
        metafunc.parametrize(DESCRIPTION, names, indirect=True, ids=ids, scope="session")


# First: xdist's own looks at the groups, and is a usual one.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With xdist's `--dist loadgroup` the tests of a machine go to one worker, and boot it once."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        described = DESCRIPTION in getattr(item, "fixturenames", ())
        if not described or item.get_closest_marker("xdist_group"):
            continue
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        words = [str(parameters.get(DESCRIPTION, "devmodel"))]
        if marker := item.get_closest_marker("devmodel"):
            words += [f"{key}={value}" for key, value in sorted(marker.kwargs.items())]
        item.add_marker(pytest.mark.xdist_group(" ".join(words)))


# --- what the kernel says is part of the result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test fails if the guest's kernel complained meanwhile, or the guest is gone."""
    try:
        result = yield
    except BaseException as error:
        guest = item.stash.get(GUEST, None)
        if guest is not None and (trouble := guest.failed(error)):
            if isinstance(error, pytest.skip.Exception):
                pytest.fail(trouble, pytrace=False)
            item.add_report_section("call", "kernel", trouble)
        raise
    guest = item.stash.get(GUEST, None)
    if guest is not None and (trouble := guest.trouble()):
        pytest.fail(trouble, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the logs of a failed test's guest are, and what its console said during the test."""
    report = yield
    guest = item.stash.get(GUEST, None)
    if guest is not None and report.failed and (story := guest.story()):
        report.sections.append(("devmodel", story))
    return report


# --- fixtures


@pytest.fixture(scope="session")
def devmodel_state(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where this process's VMs and their logs are: nobody else's."""
    if logs := option(pytestconfig, LOGS):
        worker = getattr(pytestconfig, "workerinput", {}).get("workerid", "main")
        folder = base(pytestconfig, LOGS) / logs / worker
    else:
        folder = tmp_path_factory.mktemp("devmodel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVMODEL_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def devmodel_pool(devmodel_state: Path) -> Iterator[Pool]:
    """The VM of this process: one at a time. Its `end()` makes room for VMs of a test's own."""
    from devmodel.testing.pool import Pool

    del devmodel_state
    pool = Pool()
    yield pool
    pool.end()


@pytest.fixture(scope="session")
def devmodel_description(request: pytest.FixtureRequest) -> str | None:
    """The description's name or file, as marker, command line or ini file have it; None: none."""
    given: str | None = getattr(request, "param", None)
    return given


@pytest.fixture
def devmodel_config(
    devmodel_description: str | None, request: pytest.FixtureRequest
) -> MachineConfig:
    """The machine that `vm` boots. A project may put a fixture of its own in its place."""
    from devmodel.testing import choice

    with _explained():
        return choice.machine(request, devmodel_description)


@pytest.fixture
def vm(
    devmodel_pool: Pool, devmodel_config: MachineConfig, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    """A VM that answers, as good as fresh: a `devmodel.machine.Machine`.

    What its kernel complains of during the test fails the test, unless `vm.expect(TEXT)` said so.
    """
    from devmodel.testing import choice

    with _explained(), _uncaptured(request.config):
        guest = devmodel_pool.get(devmodel_config, choice.life(request))
    request.node.stash[GUEST] = guest
    if boot := guest.trouble():
        pytest.fail(f"while it booted, {boot}", pytrace=False)
    yield guest.vm
    if trouble := devmodel_pool.settle(guest):
        pytest.fail(trouble, pytrace=False)


@pytest.fixture
def devices(vm: Machine) -> list[Device]:
    """The VM's devices, each with its counters."""
    from devmodel.testing.device import Device

    return [Device(vm, number) for number in range(len(vm.devices))]


@pytest.fixture
def device(devices: list[Device]) -> Device:
    """The VM's first device."""
    if not devices:
        pytest.fail("this machine has no device; describe one with `devices:`", pytrace=False)
    return devices[0]


@pytest.fixture
def ktap(vm: Machine, request: pytest.FixtureRequest) -> Ktap:
    """Runs a program that prints KTAP in the guest: each of its tests is a subtest of this one."""
    from devmodel.testing.subtests import Ktap

    try:
        subtests = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        subtests = None
    return Ktap(vm, subtests)


class _explained:
    """A user's mistake, or a machine that is not ready, is a line and no traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from devmodel.errors import DevmodelError

        if isinstance(error, DevmodelError):
            pytest.fail(f"devmodel: {error}\n{error.details}".rstrip(), pytrace=False)


def _uncaptured(config: pytest.Config) -> AbstractContextManager[Any]:
    """A first build takes a while: a person at a terminal sees it go on."""
    manager = config.pluginmanager.getplugin("capturemanager")
    terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    if manager is None or not terminal or hasattr(config, "workerinput"):
        return nullcontext()
    uncaptured: AbstractContextManager[Any] = manager.global_and_fixture_disabled()
    return uncaptured
