"""The kernel's own HMM tests, unmodified, on our device and on the kernel's in-kernel one.

Both run in one guest, one after the other: `devmodel.ko dmirror=1` offers the interface of
lib/test_hmm.c as /dev/hmm_dmirror0 to 3, served by the external devices; then test_hmm.ko does,
inside the kernel.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devmodel.experiment import ktap
from devmodel.machine import Machine, MachineConfig, selftests
from devmodel.machine import build as builds
from devmodel.machine.progress import Reporter

CONFIG = "hmm-tests"
SECONDS = 900.0
PROGRAM = "/tmp/hmm-tests"
COHERENT = "spm_addr_dev0=0x40000000 spm_addr_dev1=0x50000000"
MODULES = "/lib/modules/$(uname -r)"
LOAD = {
    "devmodel": f"rmmod devmodel; insmod {MODULES}/devmodel.ko dmirror=1",
    "test_hmm": f"rmmod devmodel; insmod {MODULES}/test_hmm.ko {COHERENT}",
}
_TOTALS = re.compile(r"^# Totals: pass:(\d+) fail:(\d+) .*skip:(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Judgement:
    """One run of the tests: who served it, the totals that it printed, and each test."""

    device: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    cases: dict[str, ktap.Outcome]

    def __str__(self) -> str:
        counts = f"pass:{self.passed} fail:{self.failed} skip:{self.skipped}"
        return f"{self.device}: {counts} seconds:{self.seconds:.1f}"


def run(out: Path, *, kernel: Path | None, console: Console) -> int:
    """Boot, test both, keep the KTAP in `out`, print a line each on stdout.

    0 if nothing that test_hmm passes fails on our device.
    """
    reporter = Reporter()
    config = MachineConfig.load(CONFIG)
    if kernel is not None:
        config = config.model_copy(
            update={"kernel": config.kernel.model_copy(update={"tree": kernel})}
        )
    program = selftests.hmm_tests(builds.build(config.kernel, reporter).kernel, reporter)
    out.mkdir(parents=True, exist_ok=True)
    judgements = []
    with Machine(config, reporter=reporter) as vm:
        vm.put(program, PROGRAM)
        vm.run(f"chmod +x {PROGRAM}; echo 64 >/proc/sys/vm/nr_hugepages").check()
        for device, load in LOAD.items():
            if device == "test_hmm":
                # Its coherent memory shares a section with RAM, and it says so at length.
                vm.expect("Conflicting mapping in same section")
                vm.expect("WARNING:")
            vm.run(f"{load}; ls /dev/hmm_dmirror3").check()
            reporter.note(f"the kernel's HMM tests on {device}")
            begin = time.monotonic()
            # What a test complains of goes to stderr; in the log it stands beside the test.
            done = vm.run(f"{PROGRAM} 2>&1", timeout=SECONDS)
            seconds = time.monotonic() - begin
            (out / f"{CONFIG}-{device}.tap").write_text(done.stdout)
            judgements.append(_judge(device, done.stdout, seconds))
            vm.run("rmmod test_hmm 2>/dev/null; true")
    console.print(_table(*judgements))
    for judgement in judgements:
        print(judgement)
    ours, theirs = judgements
    worse = [
        name
        for name, outcome in theirs.cases.items()
        if outcome is ktap.Outcome.PASSED and ours.cases.get(name) is not ktap.Outcome.PASSED
    ]
    return 1 if worse or not ours.cases else 0


def _judge(device: str, text: str, seconds: float) -> Judgement:
    """From KTAP. The `Totals:` line counts; the harness's own summary takes skips for passes."""
    totals = _TOTALS.search(text)
    passed, failed, skipped = map(int, totals.groups()) if totals else (0, 0, 0)
    cases = {case.name: case.outcome for case in ktap.parse(text).cases}
    return Judgement(device, passed, failed, skipped, seconds, cases)


def _table(ours: Judgement, theirs: Judgement) -> Table:
    table = Table("test", ours.device, theirs.device, title="the kernel's HMM tests", box=None)
    for name in dict.fromkeys([*ours.cases, *theirs.cases]):
        table.add_row(name, ours.cases.get(name, "-"), theirs.cases.get(name, "-"))
    return table
