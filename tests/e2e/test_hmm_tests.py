"""The kernel's own HMM tests, unmodified, on four of our devices."""

from pathlib import Path

import pytest
from rich.console import Console

from devmodel.experiment import hmm_tests


@pytest.mark.timeout(1200)
def test_all_pass_and_none_that_the_kernel_passes_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = hmm_tests.run(tmp_path, kernel=None, console=Console(stderr=True))
    ours, theirs = capsys.readouterr().out.splitlines()
    log = (tmp_path / "hmm-tests-devmodel.tap").read_text()
    assert ours.startswith("devmodel: pass:58 fail:0 skip:0 seconds:"), log
    assert theirs.startswith("test_hmm: pass:")
    assert code == 0
