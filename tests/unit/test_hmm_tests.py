"""Reading what the kernel's HMM tests print."""

import pytest
from rich.console import Console

from devmodel.experiment import hmm_tests
from devmodel.experiment.hmm_tests import Clock, _judge, _table
from devmodel.experiment.ktap import Outcome

LOG = """\
TAP version 13
1..3
# Starting 3 tests from 5 test cases.
#  RUN           hmm.open_close ...
#            OK  hmm.open_close
ok 1 hmm.open_close
not ok 2 hmm.migrate
ok 3 hmm.huge # SKIP no huge pages
# FAILED: 2 / 3 tests passed.
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
"""


def test_skips_are_not_passes() -> None:
    judgement = _judge("devmodel", LOG, 1.25, {})
    assert str(judgement) == "devmodel: pass:1 fail:1 skip:1 seconds:1.2"
    assert judgement.cases["hmm.huge"] is Outcome.SKIPPED


def test_no_totals_is_no_pass() -> None:
    assert str(_judge("x", "TAP version 13\n", 0.0, {})) == "x: pass:0 fail:0 skip:0 seconds:0.0"


def test_a_test_lasts_until_the_next_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 2.0, 5.0])
    monkeypatch.setattr(hmm_tests.time, "monotonic", lambda: next(now))
    clock = Clock()
    clock.write(b"TAP version 13\n#  RUN           hmm.open_close ...\n#  RU")
    clock.write(b"N           hmm.migrate ...\n")
    clock.write(b"ok 2 hmm.migrate\n")
    assert clock.seconds(6.5) == {"hmm.open_close": 1.0, "hmm.migrate": 4.5}
    assert clock.text.endswith("ok 2 hmm.migrate\n")


def test_the_table_has_both_devices_side_by_side() -> None:
    ours = _judge("devmodel", LOG, 1.0, {"hmm.open_close": 0.125})
    theirs = _judge("test_hmm", "ok 1 hmm.open_close\n", 1.0, {"hmm.open_close": 0.5})
    console = Console(width=100)
    with console.capture() as capture:
        console.print(_table(ours, theirs))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["test", "devmodel", "s", "test_hmm", "s"] in rows
    assert ["hmm.open_close", "passed", "0.12", "passed", "0.50"] in rows
    assert ["hmm.migrate", "failed", "-", "-", "-"] in rows
