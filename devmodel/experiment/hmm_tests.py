"""The kernel's own HMM tests, unmodified, on our device and on the kernel's in-kernel one.

Both run in one guest, one after the other: `devmodel.ko dmirror=1` offers the interface of
lib/test_hmm.c as /dev/hmm_dmirror0 to 3, served by the external devices; then test_hmm.ko does,
inside the kernel.
"""

from __future__ import annotations

import io
import json as jsonlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devmodel.build import guest, selftests
from devmodel.experiment import ktap
from devmodel.machine import Machine, MachineConfig
from devmodel.progress import Reporter

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
# The harness flushes it before each test.
_RUN = re.compile(r"^#\s+RUN\s+(\S+)")


class Clock(io.BytesIO):
    """Takes a test program's output as it comes, and notes when each test begins."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: list[tuple[str, float]] = []
        self._line = b""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """More output."""
        now = time.monotonic()
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if match := _RUN.match(line.decode(errors="replace")):
                self._marks.append((match[1], now))
        return super().write(data)

    @property
    def text(self) -> str:
        """All of it."""
        return self.getvalue().decode(errors="replace")

    def seconds(self, end: float) -> dict[str, float]:
        """How long each test took; `end` is when the program ended, by time.monotonic()."""
        ends = [begin for _, begin in self._marks[1:]] + [end]
        return {name: e - begin for (name, begin), e in zip(self._marks, ends, strict=False)}


@dataclass(frozen=True)
class Judgement:
    """One run of the tests: who served it, the totals that it printed, and each test."""

    device: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    cases: dict[str, ktap.Outcome]
    times: dict[str, float]
    """seconds of each test"""

    def as_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "device": self.device,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "tests": [
                {"name": name, "outcome": outcome, "seconds": round(self.times.get(name, 0.0), 3)}
                for name, outcome in self.cases.items()
            ],
        }

    def __str__(self) -> str:
        counts = f"pass:{self.passed} fail:{self.failed} skip:{self.skipped}"
        return f"{self.device}: {counts} seconds:{self.seconds:.1f}"


def run(
    config: MachineConfig,
    out: Path,
    *,
    console: Console,
    json: bool = False,
    without: Sequence[str] = (),
) -> int:
    """Boot `config` (CONFIG's four devices), test both, keep the KTAP in `out`.

    Tests called as in `without` are left out.

    A table of all tests goes to `console`, and a line for each device, or JSON, to stdout.

    0 if nothing that test_hmm passes fails on our device.
    """
    reporter = Reporter()
    tests = selftests.obtain(guest.build(config.kernel, reporter).kernel, reporter)
    out.mkdir(parents=True, exist_ok=True)
    judgements = []
    with Machine(config, reporter=reporter) as vm:
        vm.put(tests.program, PROGRAM)
        if tests.module is not None:
            vm.put(tests.module, "/tmp/test_hmm.ko")
            vm.run(f"mv /tmp/test_hmm.ko {MODULES}/").check()
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
            clock = Clock()
            words = [PROGRAM, *(f"-T {name}" for name in without)]
            vm.run(f"{' '.join(words)} 2>&1", timeout=SECONDS, stdout=clock)
            end = time.monotonic()
            (out / f"{CONFIG}-{device}.tap").write_text(clock.text)
            judgements.append(_judge(device, clock.text, end - begin, clock.seconds(end)))
            vm.run("rmmod test_hmm 2>/dev/null; true")
    # Names are long, and a pipe is no reason to shorten them.
    width = console.width if console.is_terminal else 120
    console.print(_table(*judgements), width=width, crop=False)
    ours, theirs = judgements
    worse = [
        name
        for name, outcome in theirs.cases.items()
        if outcome is ktap.Outcome.PASSED and ours.cases.get(name) is not ktap.Outcome.PASSED
    ]
    good = bool(ours.cases) and not worse
    if json:
        devices = [judgement.as_dict() for judgement in judgements]
        print(jsonlib.dumps({"good": good, "devices": devices}))
    else:
        print(*judgements, sep="\n")
    return 0 if good else 1


def _judge(device: str, text: str, seconds: float, times: dict[str, float]) -> Judgement:
    """From KTAP. The `Totals:` line counts; the harness's own summary takes skips for passes."""
    totals = _TOTALS.search(text)
    passed, failed, skipped = map(int, totals.groups()) if totals else (0, 0, 0)
    cases = {case.name: case.outcome for case in ktap.parse(text).cases}
    return Judgement(device, passed, failed, skipped, seconds, cases, times)


def _table(ours: Judgement, theirs: Judgement) -> Table:
    table = Table("test", title="the kernel's HMM tests", box=None)
    for judgement in (ours, theirs):
        table.add_column(judgement.device)
        table.add_column("s", justify="right")
    for name in dict.fromkeys([*ours.cases, *theirs.cases]):
        cells = [name]
        for judgement in (ours, theirs):
            seconds = judgement.times.get(name)
            cells += [
                judgement.cases.get(name, "-"),
                "-" if seconds is None else f"{seconds:.2f}",
            ]
        table.add_row(*cells)
    return table
