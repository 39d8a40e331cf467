"""Reading KTAP as guests print it: nested, interrupted, cut off."""

import pytest

from devmodel.experiment.ktap import Case, Outcome, parse

GOOD = """\
TAP version 13
1..4
# model private
ok 1 first thing
# file.c:12: expected 1
not ok 2 second: thing
ok 3 third # SKIP for model coherent
ok 4 - fourth
"""


def test_every_outcome_with_what_was_said() -> None:
    run = parse(GOOD)
    assert run.trouble is None
    assert run.cases == (
        Case("first thing", Outcome.PASSED, ("model private",)),
        Case("second: thing", Outcome.FAILED, ("file.c:12: expected 1",)),
        Case("third", Outcome.SKIPPED, ("for model coherent",)),
        Case("fourth", Outcome.PASSED),
    )
    assert run.count(Outcome.PASSED) == 2


def test_kernel_lines_in_between() -> None:
    run = parse(
        "KTAP version 1\n[    1.234567] devmodel 0000:00:03.0: hello\n1..2\n"
        "<6>[   12.000001][   T99] ok 1 on a console\n"
        "random: crng init done\n[ 3.1] ok 2 b\n"
    )
    assert run.trouble is None
    assert [case.name for case in run.cases] == ["on a console", "b"]


def test_nested_tests_count_by_their_parent() -> None:
    run = parse("1..1\n    1..2\n    ok 1 inner\n    not ok 2 other\nnot ok 1 outer\n")
    assert run.trouble is None
    (case,) = run.cases
    assert case.outcome is Outcome.FAILED
    assert case.notes == ("ok 1 inner", "not ok 2 other")


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("ok 1 a # SKIP", Outcome.SKIPPED),
        ("not ok 1 a # SKIP no such thing", Outcome.SKIPPED),
        ("ok 1 a # skip: lower case", Outcome.SKIPPED),
        ("not ok 1 a # XFAIL known", Outcome.PASSED),
        ("not ok 1 a # TIMEOUT 5 s", Outcome.FAILED),
        ("not ok 1 a", Outcome.FAILED),
        ("ok 1 a #1 of many", Outcome.PASSED),
    ],
)
def test_directives(line: str, outcome: Outcome) -> None:
    (case,) = parse(f"1..1\n{line}\n").cases
    assert case.outcome is outcome


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "no plan"),
        ("Segmentation fault\n", "no plan"),
        ("1..2\nok 1 a\n", "2 tests were planned, 1 have results"),
        ("1..1\nok 1 a\nok 2 b\n", "1 tests were planned, 2 have results"),
        ("TAP version 13\nBail out! no such device\n", "bailed out: no such device"),
    ],
)
def test_what_is_wrong_with_a_run(text: str, trouble: str) -> None:
    found = parse(text).trouble
    assert found is not None
    assert trouble in found


def test_nothing_planned_is_no_trouble() -> None:
    assert parse("TAP version 13\n1..0 # SKIP not here\n").trouble is None
