"""The kernel's own HMM tests, unmodified, on four of our devices."""

from pathlib import Path

import pytest
from configurations import load
from rich.console import Console

from devmodel.build.config import NAMED
from devmodel.build.series import SERIES, Kind
from devmodel.experiment import hmm_tests

DEFAULT = "7.2"
# They take most of the time and have nothing to fail by; `make hmm-tests` runs them.
BENCHMARKS = ("benchmark_thp_migration",)


def machine(kernel: str) -> str:
    return hmm_tests.CONFIG if kernel == DEFAULT else f"{hmm_tests.CONFIG}@{kernel}"


KERNELS = [
    pytest.param(name, marks=pytest.mark.machine(machine(name)))
    for name in NAMED
    if not NAMED[name].debug
]


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("no_vm")
@pytest.mark.parametrize("kernel", KERNELS)
def test_all_pass_and_none_that_the_kernel_passes_fails(
    kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(machine(kernel))
    code = hmm_tests.run(config, tmp_path, console=Console(stderr=True), without=BENCHMARKS)
    ours, theirs = capsys.readouterr().out.splitlines()
    log = (tmp_path / "hmm-tests-devmodel.tap").read_text()
    series = NAMED[kernel].source or SERIES[kernel]
    # Of the private device and of the coherent one.
    passing = series.hmm_tests - (2 * len(BENCHMARKS) if series.whole_thp else 0)
    # What wants GUP_TEST.
    skipped = 2 if series.kind is Kind.STOCK else 0
    assert ours.startswith(f"devmodel: pass:{passing} fail:0 skip:{skipped} seconds:"), log
    assert theirs.startswith("test_hmm: pass:")
    assert code == 0
