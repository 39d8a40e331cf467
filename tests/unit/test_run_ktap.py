"""`devmodel run --ktap`: what is passed through, what is told, the JUnit file and the exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from devmodel import paths
from devmodel.cli import ktap
from devmodel.cli import main as cli
from devmodel.errors import DevmodelError, GuestOops, GuestPanic, LaunchFailed
from devmodel.experiment import junit
from devmodel.experiment.ktap import parse
from devmodel.machine.shell import Result

GOOD = b"TAP version 13\n1..2\n# model private\nok 1 first\nok 2 second # SKIP not here\n"
BAD = b"""KTAP version 1
1..3
    KTAP version 1
    # Subtest: suite.of mine
    1..2
    ok 1 one
    # made_up.c:3: expected 1
    not ok 2 two
not ok 1 suite.of mine
not ok 2 later # TODO one day
ok 3 alone
"""
# What a program that broke may print as a name.
HOSTILE = (
    b'1..2\nnot ok 1 a\x00\x1b[2J\x0b<&">]]>\xff\xfe\xed\xa0\x80\xef\xbf\xbf\n# \x08\nok 2 \x7f\n'
)


class FakeMachine:
    """Prints `output` a few bytes at a time."""

    output: ClassVar[bytes] = GOOD
    code: ClassVar[int] = 0
    start: ClassVar[DevmodelError | None] = None
    running: ClassVar[DevmodelError | None] = None
    end: ClassVar[DevmodelError | None] = None

    def __init__(self, config: object, **_: object) -> None:
        pass

    def __enter__(self) -> "FakeMachine":
        if self.start:
            raise self.start
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.end and kind is None:
            raise self.end

    def run(self, command: list[str], *, stdout: Any, **_: object) -> Result:
        assert command == ["/tmp/my-test", "x"]
        for begin in range(0, len(self.output), 7):
            stdout.write(self.output[begin : begin + 7])
        if self.running:
            raise self.running
        return Result(self.code, "", "")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ktap, "Machine", FakeMachine)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.chdir(tmp_path)
    # Back to this after each test.
    for name in ("output", "code", "start", "running", "end"):
        monkeypatch.setattr(FakeMachine, name, getattr(FakeMachine, name))


def run(*words: str, output: bytes = GOOD, code: int = 0) -> int:
    FakeMachine.output, FakeMachine.code = output, code
    return cli.main(["run", "private", "--ktap", *words, "--", "/tmp/my-test", "x"])


def file() -> JUnitXml:
    return JUnitXml.fromfile("out.xml")


def test_what_passes_goes_through_unchanged(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run() == 0
    out, err = capfdbinary.readouterr()
    assert out == GOOD
    assert err.splitlines()[-2:] == [
        b"skipped: second: not here",
        b"2 tests: 1 passed, 1 skipped",
    ]


def test_a_last_line_without_an_end_counts() -> None:
    assert run(output=GOOD.rstrip()) == 0


def test_what_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(output=BAD, code=1) == 1
    assert capfd.readouterr().err.splitlines() == [
        "failed: suite.of mine / two: made_up.c:3: expected 1",
        "xfailed: later: one day",
        "4 tests: 2 passed, 1 failed, 1 xfailed",
    ]


@pytest.mark.parametrize(
    ("output", "code", "why"),
    [
        (b"Segmentation fault\n", 139, "no plan: the program died early, or does not print KTAP"),
        (b"1..2\nok 1 a\n", 0, "2 tests were planned, 1 have results"),
        (b"1..2\nok 1 a\nBail out! no device\n", 0, "bailed out: no device"),
        (GOOD, 3, "no test failed, but the exit code is 3"),
    ],
)
def test_a_run_that_is_not_whole(
    output: bytes, code: int, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--junit", "out.xml", output=output, code=code) == 1
    assert why in capfd.readouterr().err.splitlines()
    (suite,) = file()
    assert suite.errors == 1
    (last,) = list(suite)[-1].result
    assert (type(last), last.message) == (Error, why)


@pytest.mark.parametrize(
    ("when", "error", "code"),
    [
        ("end", GuestOops("the guest's kernel complained: WARNING", details="line\nline"), 251),
        ("running", GuestPanic("the guest's kernel panicked"), 250),
        ("start", LaunchFailed("no QEMU", hint="install it"), 5),
    ],
)
def test_what_befalls_the_guest_is_an_error_whatever_the_tests_say(
    when: str, error: DevmodelError, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("out.xml").write_text("of yesterday")
    setattr(FakeMachine, when, error)
    assert run("--junit", "out.xml") == code
    assert capfd.readouterr().err.splitlines()[-1] == f"devmodel: {error}"
    (suite,) = file()
    errors = [result for case in suite for result in case.result if isinstance(result, Error)]
    assert errors[0].message == str(error)


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--json", output=BAD, code=1) == 1
    told = json.loads(capfd.readouterr().out)
    assert told["tests"][1] == {
        "name": ["suite.of mine", "two"],
        "outcome": "failed",
        "notes": ["made_up.c:3: expected 1"],
    }
    assert told["counts"] == {"passed": 2, "failed": 1, "skipped": 0, "xfailed": 1}
    assert (told["good"], told["planned"], told["exit_code"]) == (False, 3, 1)
    assert run("--json") == 0
    assert json.loads(capfd.readouterr().out)["good"] is True


def test_junit() -> None:
    assert run("--junit", "out.xml", output=BAD, code=1) == 1
    (suite,) = file()
    assert (suite.name, suite.tests, suite.failures, suite.skipped) == ("my-test", 4, 1, 1)
    cases = {case.name: case for case in suite}
    assert list(cases) == ["one", "two", "later", "alone"]
    assert cases["two"].classname == "my-test.suite_of mine"
    (failure,) = cases["two"].result
    assert isinstance(failure, Failure)
    assert failure.message == "made_up.c:3: expected 1"
    assert isinstance(cases["later"].result[0], Skipped)


def test_junit_of_hostile_bytes(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--junit", "out.xml", output=HOSTILE, code=1) == 1
    (suite,) = file()
    names = [case.name for case in suite]
    assert names[0].startswith('a\\x00\\x1b[2J\\x0b<&">]]>')
    assert len(names) == 2
    # And no terminal obeys them.
    assert "\x1b" not in capfd.readouterr().err


def test_any_bytes_at_all_make_a_document(tmp_path: Path) -> None:
    every = "".join(map(chr, [*range(0x300), 0x2028, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF, 0x10FFFF]))
    name = every.replace("\n", "").replace("#", "")
    text = f"1..2\n# {name}\nnot ok 1 {name}\nok 2 b # SKIP {name}\n"
    made = junit.document(
        parse(text), suite=name, seconds=1.0, began="2026-01-01T00:00:00", troubles=[name]
    )
    (tmp_path / "out.xml").write_bytes(made)
    (suite,) = file()
    assert suite.tests == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--junit", "out.xml", "--", "x"], "--junit is about tests; add --ktap"),
        (["--json"], "--json: of which command?; write it after --"),
        (["--ktap"], "--ktap: no command to run; add -- and a program that prints KTAP"),
        (
            ["--ktap", "--junit", "no/out.xml", "--", "x"],
            "--junit no/out.xml: No such file or directory; name a file that can be written",
        ),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "private", *words]) == 2
    assert capfd.readouterr().err == f"devmodel: {line}\n"


# --- the kernel's own reader

KUNIT = sorted(paths.cache().glob("sources/*/*/tools/testing/kunit/kunit.py"))


@pytest.mark.skipif(not KUNIT, reason="no kernel source is unpacked here: devmodel build 7.2-own")
@pytest.mark.parametrize(
    ("output", "code", "counts"),
    [
        (GOOD, 0, "Ran 2 tests: passed: 1, skipped: 1"),
        # It knows of SKIP alone.
        (BAD, 1, "Ran 4 tests: passed: 2, failed: 2"),
    ],
)
def test_kunit_accepts_what_goes_through(
    output: bytes, code: int, counts: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(output=output, code=code) == code
    passed, _ = capfdbinary.readouterr()
    done = subprocess.run(
        [sys.executable, "-B", KUNIT[-1], "parse"],
        input=passed,
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode()
    assert counts in said, said + done.stderr.decode()
    assert "[ERROR]" not in said
    assert done.returncode == code
