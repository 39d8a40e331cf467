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


def leaves(text: str) -> list[tuple[str, Outcome]]:
    return [(leaf.title, leaf.outcome) for leaf in parse(text).leaves]


NESTED = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: suite
    1..2
        KTAP version 1
        1..2
        ok 1 innermost
        # deep.c:3: expected 1
        not ok 2 other
    # in between
    not ok 1 inner
    ok 2 next # SKIP not here
# suite: 3 of them
not ok 1 suite
ok 2 alone
"""


def test_tests_within_tests() -> None:
    run = parse(NESTED)
    assert run.trouble is None
    suite, alone = run.cases
    assert suite.notes == ("suite: 3 of them",)
    inner, skipped = suite.children
    assert inner.notes == ("in between",)
    assert inner.children[1] == Case("other", Outcome.FAILED, ("deep.c:3: expected 1",))
    assert skipped.outcome is Outcome.SKIPPED
    assert alone.children == ()
    assert leaves(NESTED) == [
        ("suite / inner / innermost", Outcome.PASSED),
        ("suite / inner / other", Outcome.FAILED),
        ("suite / next", Outcome.SKIPPED),
        ("alone", Outcome.PASSED),
    ]
    assert not run.good
    assert run.count(Outcome.FAILED) == 1


def test_a_test_fails_with_what_it_holds_whatever_its_own_line_says() -> None:
    run = parse("1..1\n  1..1\n  not ok 1 inner\nok 1 outer\n")
    assert run.cases[0].outcome is Outcome.FAILED
    assert [leaf.title for leaf in run.failed] == ["outer / inner"]


def test_a_test_that_fails_by_itself_is_a_result_beside_those_that_it_holds() -> None:
    assert leaves("1..1\n  1..1\n  ok 1 inner\nnot ok 1 outer\n") == [
        ("outer / inner", Outcome.PASSED),
        ("outer", Outcome.FAILED),
    ]


def test_too_few_within_a_test() -> None:
    run = parse("1..1\n  1..2\n  ok 1 inner\nok 1 outer\n")
    assert run.trouble is None
    (leaf,) = run.failed
    assert (leaf.title, leaf.notes) == ("outer", ("2 tests were planned, 1 have results",))


def test_what_was_cut_off_is_not_lost() -> None:
    died = "TAP version 13\n1..2\n  # Subtest: outer\n  1..2\n    ok 1 deep\n"
    run = parse(died)
    assert run.trouble == "2 tests were planned, 1 have results"
    assert [leaf.title for leaf in run.leaves] == ["outer / unnamed / deep", "outer / unnamed"]
    assert "it has no result" in run.leaves[1].notes[-1]
    # The next suite begins although this one has not ended.
    went_on = "1..2\n  KTAP version 1\n  # Subtest: a\n  ok 1 x\n" * 2 + "ok 2 a\n"
    assert [case.name for case in parse(went_on).cases] == ["a", "a"]
    assert parse(went_on).cases[0].outcome is Outcome.FAILED


def test_two_programs_one_after_the_other() -> None:
    run = parse(GOOD + "\n" + GOOD)
    assert run.trouble is None
    assert len(run.cases) == 8


def test_a_name_of_hostile_bytes_is_one_name() -> None:
    name = "a\x1b[2J\x0b\x1c\u2028\ufffd<&\x00"
    (case,) = parse(f"1..1\r\nok 1 {name}\r\n").cases
    assert case == Case(name, Outcome.PASSED)


def test_of_endless_notes_the_last_are_kept() -> None:
    (case,) = parse("1..1\n" + "".join(f"# {n}\n" for n in range(1000)) + "not ok 1 a\n").cases
    assert case.notes == tuple(str(n) for n in range(800, 1000))


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("ok 1 a # SKIP", Outcome.SKIPPED),
        ("not ok 1 a # SKIP no such thing", Outcome.SKIPPED),
        ("ok 1 a # skip: lower case", Outcome.SKIPPED),
        ("not ok 1 a # XFAIL known", Outcome.XFAILED),
        ("not ok 1 a # TODO one day", Outcome.XFAILED),
        ("ok 1 a # TODO one day", Outcome.PASSED),
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
