"""The main job, a word index, under each memory model: one VM for each, and one table."""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from devmodel.experiment import corpus, report
from devmodel.experiment.results import BadResult, Result
from devmodel.experiment.stages import Stages
from devmodel.machine import build
from devmodel.machine.config import MachineConfig
from devmodel.machine.errors import DevmodelError, GuestError
from devmodel.machine.machine import Machine
from devmodel.machine.progress import Reporter

TEXT_BYTES = 2 << 20
GUEST_TEXT = "/tmp/corpus.txt"
JOB_SECONDS = 240.0
# Boot, copy the text, the four phases that wordindex tells of, end.
STAGES = 7


class JobFailed(GuestError):
    """The workload ended without a result."""


class PhaseLines(io.BufferedIOBase):
    """A workload's stderr: `tell` gets the phases that it ends, all of it is kept as `text`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._line = b""
        self.text = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream; lines may be cut anywhere."""
        piece = bytes(data)  # type: ignore[call-overload]
        *lines, self._line = (self._line + piece).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace")
            self.text += words + "\n"
            parts = words.split(": ")
            if len(parts) == 3 and parts[0] == "wordindex" and parts[2].endswith(" s"):
                self._tell(f"{parts[1]} done")
        return len(piece)


def word_index(vm: Machine, text: Path, tell: Callable[[str], None]) -> Result:
    """Run the word index in a VM that is up. JobFailed if it ends without a result."""
    vm.put(text, GUEST_TEXT)
    tell("indexing")
    lines = PhaseLines(tell)
    done = vm.run(
        ["wordindex", "--bytes", str(TEXT_BYTES), GUEST_TEXT], timeout=JOB_SECONDS, stderr=lines
    )
    try:
        result = Result.parse(done.stdout)
    except BadResult as error:
        last = (lines.text.strip().splitlines() or ["it said nothing"])[-1]
        raise JobFailed(
            f"the word index ended with {done.exit_code} and without a result: {last}",
            hint=f"see {vm.folder}",
            details=f"{error}\n{lines.text}",
        ) from error
    if done.exit_code and result.checked:
        raise JobFailed(f"the word index ended with {done.exit_code}", details=lines.text)
    return result


class _Job:
    """One model's VM and workload, in a thread of its own."""

    def __init__(self, model: str, config: MachineConfig, text: Path, stages: Stages) -> None:
        self.model = model
        self._machine = Machine(config)
        self._text = text
        self._stages = stages
        self._cancelled = threading.Event()

    def run(self) -> Result | None:
        """The result; None if it was cancelled."""
        if self._cancelled.is_set():
            return None
        self._stages.reach(self.model, "booting")
        try:
            with self._machine as vm:
                if self._cancelled.is_set():
                    return None
                result = word_index(vm, self._text, self._tell)
        except DevmodelError as error:
            if self._cancelled.is_set():
                return None
            self._stages.reach(self.model, f"failed: {error.message}", done=True)
            raise
        self._stages.reach(self.model, "checked" if result.checked else "NOT checked", done=True)
        return result

    def _tell(self, stage: str) -> None:
        self._stages.reach(self.model, stage)

    def cancel(self) -> None:
        """Do not begin, or end soon. The VM is closed by the thread that opened it."""
        self._cancelled.set()
        # Without QEMU its thread waits for nothing any more. There is none before the guest is
        # up; then the thread looks for itself.
        with contextlib.suppress(RuntimeError, ProcessLookupError):
            os.kill(self._machine.qemu_pid, signal.SIGTERM)


def compare(models: Sequence[str], console: Console) -> list[Result]:
    """Run the word index under each of `models`, as many side by side as this machine likes."""
    reporter = Reporter(console)
    configs = {model: MachineConfig.load(model) for model in models}
    # Here and not in the threads: one bar at a time.
    for kernel in {config.kernel for config in configs.values()}:
        build.build(kernel, reporter)
    text = corpus.obtain(reporter)
    # A guest, its device and this program: two of each keep two processors busy.
    width = max(1, len(os.sched_getaffinity(0)))
    with Stages(console, list(configs), STAGES) as stages:
        jobs = [_Job(model, config, text, stages) for model, config in configs.items()]
        with ThreadPoolExecutor(width) as pool:
            # The longest first, so that it is not what is waited for at the end.
            order = sorted(jobs, key=lambda job: job.model != "private")
            futures = {job.model: pool.submit(job.run) for job in order}
            try:
                found = {model: future.result() for model, future in futures.items()}
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
    return [result for model in models if (result := found[model]) is not None]


def run(models: Sequence[str], *, json: bool, console: Console) -> int:
    """`devmodel demo`: progress goes to `console`, the outcome to stdout. 0 if all is checked."""
    results = compare(models, console)
    if json:
        jsonlib.dump(report.as_object(results), sys.stdout, indent=1)
        print()
    else:
        Console(highlight=False).print(report.table(results))
    return 0 if results and all(result.checked for result in results) else 1
