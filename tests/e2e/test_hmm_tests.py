"""The kernel's own HMM tests, unmodified, on four of our devices."""

from pathlib import Path

import pytest
from configurations import load, skip_unless_wanted
from rich.console import Console

from devmodel.build.series import DEFAULT, SERIES
from devmodel.experiment import hmm_tests


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("no_vm")
@pytest.mark.parametrize("series", SERIES)
def test_all_pass_and_none_that_the_kernel_passes_fails(
    series: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{hmm_tests.CONFIG}@{series}"
    if series != DEFAULT:
        skip_unless_wanted(name)
    config = load(name)
    code = hmm_tests.run(config, tmp_path, console=Console(stderr=True))
    ours, theirs = capsys.readouterr().out.splitlines()
    log = (tmp_path / "hmm-tests-devmodel.tap").read_text()
    passing = SERIES[series].hmm_tests
    assert ours.startswith(f"devmodel: pass:{passing} fail:0 skip:0 seconds:"), log
    assert theirs.startswith("test_hmm: pass:")
    assert code == 0
