"""Reading what the kernel's HMM tests print."""

from devmodel.experiment.hmm_tests import _judge
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
    judgement = _judge("devmodel", LOG, 1.25)
    assert str(judgement) == "devmodel: pass:1 fail:1 skip:1 seconds:1.2"
    assert judgement.cases["hmm.huge"] is Outcome.SKIPPED


def test_no_totals_is_no_pass() -> None:
    assert str(_judge("x", "TAP version 13\n", 0.0)) == "x: pass:0 fail:0 skip:0 seconds:0.0"
