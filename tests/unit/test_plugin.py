"""The pytest plugin, in pytests of its own, with guests that are none."""

import subprocess
import sys
from pathlib import Path

import pytest
from plugin_guest import FakeGuest

# All of it, for what a pytest within this one imports itself it forgets at its end.
from devmodel.testing import choice, device, pool, subtests

pytest_plugins = "pytester"
IMPORTED = (choice, device, pool, subtests)

# For workers, which are processes of their own.
CONFTEST = """
from plugin_guest import FakeGuest
from devmodel.testing import pool
pool.Machine = FakeGuest
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "Machine", FakeGuest)
    monkeypatch.setattr(FakeGuest, "warns_at_boot", "")


def run(pytester: pytest.Pytester, source: str, *words: str) -> pytest.RunResult:
    pytester.makepyfile(f"import pytest\n{source}")
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)


# --- which machine


def test_by_default_it_is_the_private_one(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_it(vm):
    assert vm.config.devices[0].model == "private"
""",
        "-v",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_it PASSED*"])


def test_a_marker_names_it_and_what_is_different(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", mine="append: from-file\ndevices: [{model: mirror}]")
    (pytester.path / "triple.py").touch()
    # What only has the name of one is none.
    (pytester.path / "coherent").mkdir()
    (pytester.path / "linux").mkdir()
    result = run(
        pytester,
        """
@pytest.mark.devmodel("coherent", kernel="7.2-own", policy="on_touch", append="quiet")
def test_named(vm):
    assert vm.config.devices[0].model == "coherent"
    assert vm.config.kernel.series == "7.2-own"
    assert vm.config.policy == "on_touch"
    assert vm.config.append == "quiet"

@pytest.mark.devmodel("mine.yaml", append="more", programs="triple.py", kernel="linux")
def test_of_a_file(vm, request):
    assert vm.config.kernel.tree == request.path.parent / "linux"
    assert vm.config.devices[0].model == "mirror"
    assert vm.config.append == "from-file more"
    assert vm.config.devices[0].programs == (request.path.parent / "triple.py",)
""",
    )
    result.assert_outcomes(passed=2)


def test_of_several_it_runs_under_each(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.devmodel("mirror", "coherent")
class TestBoth:
    def test_one(self, vm): print("one", vm.config.name)
    def test_two(self, vm): print("two", vm.config.name)
""",
        "-s",
        "-v",
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["*one mirror-1", "*two mirror-1", "*one hmm-coherent-2", "*two hmm-coherent-2"]
    )


TWO = """
def test_unmarked(vm):
    print("unmarked", vm.config.devices[0].model, vm.config.policy, vm.config.append)

@pytest.mark.devmodel("mirror", policy="in_place", append="own")
def test_marked(vm):
    print("marked", vm.config.devices[0].model, vm.config.policy, vm.config.append)
"""


def test_the_command_line_speaks_for_tests_that_do_not(pytester: pytest.Pytester) -> None:
    words = ("--devmodel", "coherent,private", "--devmodel-policy=on_touch")
    result = run(pytester, TWO, "-s", "-v", *words, "--devmodel-append=all")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(
        [
            "*unmarked?coherent?*unmarked coherent on_touch all",
            "*unmarked?private?*unmarked private on_touch all",
            "*marked mirror in_place all own",
        ]
    )


def test_so_does_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", **{"machines/own": "devices: [{model: coherent}]"})
    pytester.makeini("[pytest]\ndevmodel = machines/own.yaml\ndevmodel_policy = on_touch\n")
    result = run(pytester, TWO, "-s", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*unmarked?own?*unmarked coherent on_touch *", "*marked mirror in_place own"]
    )
    # From wherever it is started.
    pytester.chdir()
    (pytester.path / "elsewhere").mkdir()
    done = pytester.runpytest_inprocess("-c", "tox.ini", "--rootdir", ".", "-k", "unmarked")
    done.assert_outcomes(passed=1, deselected=1)


def test_a_project_may_describe_it_in_python(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
import pytest
from devmodel.machine import MachineConfig
@pytest.fixture
def devmodel_config():
    return MachineConfig(name="ours")
""")
    result = run(pytester, "def test_it(vm): assert vm.config.name == 'ours-1'", "--devmodel=cdm")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "line"),
    [
        ("'privat'", "devmodel: privat: no such file or shipped description; did you mean*"),
        ("kernal='7.2'", "devmodel: mark.devmodel: unknown word kernal; did you mean kernel?"),
        ("policy='lazy'", "devmodel: no policy 'lazy'; there are in_place, on_touch"),
        ("scope='week'", "devmodel: mark.devmodel: no scope 'week'; there are function, class, *"),
        ("programs='none.py'", "devmodel: programs: no file *none.py; name a Python file"),
    ],
)
def test_a_mistake_is_one_line(pytester: pytest.Pytester, marker: str, line: str) -> None:
    result = run(pytester, f"@pytest.mark.devmodel({marker})\ndef test_it(vm): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")


# --- for how long


@pytest.mark.parametrize(
    ("scope", "boots"), [("session", 1), ("module", 2), ("class", 3), ("function", 6)]
)
def test_how_long_a_vm_stays(pytester: pytest.Pytester, scope: str, boots: int) -> None:
    source = f"""
import pytest
pytestmark = pytest.mark.devmodel(scope="{scope}")
class TestA:
    def test_1(self, vm): print("on", vm.config.name)
    def test_2(self, vm): print("on", vm.config.name)
"""
    more = "class TestB:\n    def test_3(self, vm): print('on', vm.config.name)\n"
    more += "    def test_4(self, vm): print('on', vm.config.name)\n"
    pytester.makepyfile(test_a=source, test_b=source.replace("TestA", "TestC") + more)
    result = pytester.runpytest_inprocess("-s")
    result.assert_outcomes(passed=6)
    names = {line.split()[-1] for line in result.outlines if "on hmm-" in line}
    assert names == {f"hmm-private-{number}" for number in range(1, boots + 1)}


def test_a_vm_is_reset_after_each_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.parametrize("number", [0, 1, 2])
def test_it(vm, number): assert vm.resets == number
""",
    )
    result.assert_outcomes(passed=3)


def test_a_vm_that_died_or_hangs_is_replaced(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_1_dies(vm): vm.run(["panic"])
def test_2(vm): assert vm.config.name == "hmm-private-2"
def test_3_hangs(vm): vm.run(["hang"])
def test_4(vm): assert vm.config.name == "hmm-private-3"
def test_5_loses_a_device(vm): vm.lost_devices = (0,)
def test_6(vm): assert vm.config.name == "hmm-private-4"
def test_7_dies_unseen(vm): vm.close()
def test_8(vm): assert vm.config.name == "hmm-private-5"
""",
        "-v",
    )
    result.assert_outcomes(passed=5, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*test_1_dies FAILED*",
            "*test_3_hangs FAILED*",
            "*test_7_dies_unseen FAILED*",
            "the guest's kernel panicked: made up",
        ]
    )


def test_a_test_may_end_the_vm_for_one_of_its_own(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_1(vm): pass
def test_2(devmodel_pool): devmodel_pool.end()
def test_3(vm): assert vm.config.name == "hmm-private-2"
""",
    )
    result.assert_outcomes(passed=3)


# --- the kernel's complaints, and the logs


def test_a_complaint_fails_the_test_that_caused_it(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_1(vm): vm.run(["say", "of test 1"])
def test_2(vm):
    vm.run(["say", "of test 2"])
    vm.run(["warn", "at mm/made_up.c"])
def test_3(vm): pass
def test_4(vm):
    vm.expect("made_up.c")
    vm.run(["warn", "at mm/made_up.c"])
def test_5(vm):
    vm.run(["warn", "beside it"])
    assert 0, "of its own"
def test_6(vm):
    vm.run(["warn", "before that"])
    pytest.skip("not here")
def test_7(vm): pass
""",
        "-v",
    )
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*test_2 FAILED*",
            "*test_5 FAILED*",
            "*test_6 FAILED*",
            "*___ test_2 ___*",
            "the guest's kernel complained: WARNING: at mm/made_up.c",
            "* devmodel *",
            "logs: *vms/hmm-private-1",
            "of test 2",
            "WARNING: at mm/made_up.c",
            "*___ test_5 ___*",
            "*of its own*",
            "* kernel *",
            "the guest's kernel complained: WARNING: beside it",
            "*___ test_6 ___*",
            "the guest's kernel complained: WARNING: before that",
        ]
    )
    result.stdout.no_fnmatch_line("*of test 1*")


def test_a_complaint_while_it_boots_is_the_first_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeGuest, "warns_at_boot", "early")
    result = run(pytester, "def test_1(vm): pass\ndef test_2(vm): pass")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["while it booted, the guest's kernel complained: WARNING: early"])


def test_a_complaint_at_the_reset_is_the_test_before_its(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.fixture
def late(vm):
    yield
    vm.run(["warn", "late"])
def test_1(vm, late): pass
def test_2(vm): pass
""",
        "-v",
    )
    result.assert_outcomes(errors=1, passed=2)
    result.stdout.fnmatch_lines(["*test_1 ERROR*", "*test_2 PASSED*"])


def test_logs_are_kept_where_they_are_wanted(pytester: pytest.Pytester) -> None:
    source = """
def test_1(vm): vm.run(["panic"])
def test_2(vm): vm.run(["panic"])
"""
    result = run(pytester, source, "--devmodel-logs=kept")
    kept = sorted((pytester.path / "kept/main/vms").iterdir())
    assert [path.name for path in kept] == ["hmm-private-1", "hmm-private-2"]
    result.stdout.fnmatch_lines([f"logs: {path}" for path in kept])


# --- KTAP

KTAP = """
TEXT = '''TAP version 13
1..4
ok 1 good
  1..1
  # made_up.c:3: expected 1
  not ok 1 inner
not ok 2 outer
ok 3 other # SKIP not here
not ok 4 later # TODO one day
'''
def test_it(ktap): ktap(["print", TEXT])
def test_next(ktap): assert ktap(["print", "1..1\\nok 1 a\\n"]).good
"""


def test_each_line_of_ktap_is_a_result(pytester: pytest.Pytester) -> None:
    result = run(pytester, KTAP, "-vv")
    result.stdout.fnmatch_lines(
        [
            "*SUBPASS*",
            "*SUBFAIL*",
            "*SUBSKIP*",
            "*SUBXFAIL*",
            "*test_next PASSED*",
            "*___ test_it [[]outer / inner[]] ___*",
            "not ok: outer / inner",
            "  made_up.c:3: expected 1",
            "logs: *",
        ]
    )
    assert result.parseoutcomes()["failed"] >= 1


def test_without_subtests_one_failure_names_all(pytester: pytest.Pytester) -> None:
    result = run(pytester, KTAP, "-p", "no:subtests")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["not ok: outer / inner", "  made_up.c:3: expected 1"])


def test_ktap_that_is_not_whole(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_1(ktap): ktap(["print", "Segmentation fault"])
def test_2(ktap): ktap(["print", "1..2\\nok 1 a\\n"])
def test_3(ktap): ktap(["print", "1..1\\nok 1 a\\n", "7"])
def test_4(ktap): ktap(["print", "1..0 # SKIP no such device\\n"])
""",
    )
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(
        [
            "print 'Segmentation fault': no plan: the program died early, or does not print KTAP",
            "words on stderr",
            "*: 2 tests were planned, 1 have results",
            "*: no test failed, but the exit code is 7",
        ]
    )


def test_a_path_is_put_into_the_guest(pytester: pytest.Pytester) -> None:
    script = pytester.path / "mine"
    script.write_text("#!/bin/sh\n1..1\nok 1 a\n")
    script.chmod(0o755)
    (pytester.path / "text").touch()
    result = run(
        pytester,
        """
from pathlib import Path
HERE = Path(__file__).parent
def test_1(vm, ktap):
    assert ktap(HERE / "mine").good
    assert vm.ran[-1] == ["/tmp/mine"]
def test_2(ktap): ktap([HERE / "text"])
def test_3(ktap): ktap([HERE / "none"])
""",
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["ktap: */text is not executable; chmod +x it", "ktap: *none*"])


# --- counters


def test_a_device_and_what_is_counted(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_it(vm, device, devices):
    before = device.counters()
    with device.counting() as risen:
        vm.run(["fault"])
        vm.run(["fault"])
    assert risen.device_faults == risen["device_faults"] == 2
    assert device.counters() - before == risen == {"device_faults": 2, "mirrors": 0}
    assert repr(risen) == "Counters(device_faults=2)"
    with pytest.raises(AttributeError, match="no counter device_fault; did you mean device_faults"):
        risen.device_fault
    assert (device.number, device.path, device.config.model) == (0, "/dev/devmodel0", "private")
    assert len(devices) == 1

@pytest.mark.devmodel("none.yaml")
def test_none(device): pass
""",
    )
    pytester.makefile(".yaml", none="memory: 1G")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["this machine has no device; *"])


# --- side by side


def test_workers_have_a_vm_each(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    source = """
@pytest.mark.devmodel("mirror", "coherent")
@pytest.mark.parametrize("number", range(4))
def test_it(vm, number):
    vm.run(["warn", "planted"]) if number == 2 else None

def test_ktap(ktap): ktap(["print", "1..2\\nok 1 a\\nnot ok 2 b\\n"])
def test_other(): pass
"""
    result = run(pytester, source, "-n2", "--dist=loadgroup", "--devmodel-logs=kept", "-v")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] >= 7
    result.stdout.fnmatch_lines_random(
        [
            "*___ test_ktap [[]b[]] ___*",
            "*FAILED*coherent-2*",
            "*FAILED*mirror-2*",
            "logs: */kept/gw*",
        ]
    )
    # Each machine's tests went to one worker, and booted it once.
    boots = [path.name[:-2] for path in (pytester.path / "kept").glob("gw*/vms/*")]
    assert sorted(boots) == ["hmm-coherent", "hmm-private", "mirror"]


# --- where nobody uses it


def alone(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_costs_nothing_where_nobody_uses_it(tmp_path: Path) -> None:
    """Nothing else of devmodel is imported, nor anything that only devmodel needs."""
    (tmp_path / "test_mine.py").write_text("def test_it(): pass\n")
    loaded = alone(
        "import sys, pytest\n"
        "for name in ('numpy', 'pydantic', 'paramiko', 'rich', 'yaml'): sys.modules[name] = None\n"
        "assert pytest.main(['-q', '-p', 'no:hypothesispytest']) == 0\n"
        "print(*sorted(name for name in sys.modules if name.startswith('devmodel')))\n",
        tmp_path,
    ).splitlines()[-1]
    light = ["devmodel", *(f"devmodel.testing{name}" for name in ("", ".plugin", ".settings"))]
    assert loaded.split() == light


def test_what_it_offers_is_told(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest_inprocess("--help")
    told.stdout.fnmatch_lines(["*--devmodel=NAME|FILE,...*", "*--devmodel-logs=DIR*"])
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.devmodel(*"])
    told = pytester.runpytest_inprocess("--fixtures", "-v")
    for name in ("vm", "device", "devices", "ktap", "devmodel_pool", "devmodel_config"):
        told.stdout.fnmatch_lines([f"{name} *devmodel/testing/plugin.py*"])
