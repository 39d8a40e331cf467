"""Runs of one workload under several models: did they come to the same?"""

from __future__ import annotations

from collections.abc import Sequence

from devmodel.experiment import streams
from devmodel.experiment.config import Expect
from devmodel.experiment.job import Ran, ended


def settle(rans: Sequence[Ran], expect: Expect) -> list[Ran]:
    """The same runs; those are wrong that differ from the first one that nothing speaks against."""
    reference = next((ran for ran in rans if not ran.why), None)
    if reference is None:
        return list(rans)
    return [ran if ran.why else _compared(ran, reference, expect) for ran in rans]


def _compared(ran: Ran, reference: Ran, expect: Expect) -> Ran:
    where = f"in run {reference.number} under {reference.result.model}"
    if expect.exit_code is None and ran.exit_code != reference.exit_code:
        return ran.wrong(f"{ended(ran.exit_code)}, {where} with {reference.exit_code}")
    if expect.same_output:
        assert ran.output is not None and reference.output is not None
        if ran.output.digest != reference.output.digest:
            found = streams.difference(ran.output.lines, reference.output.lines)
            return ran.wrong(f"printed something else than {where}: {found or 'further on'}")
    return ran
