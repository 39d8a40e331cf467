"""One VM for each memory model, and work in each of them, side by side or one after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from rich.console import Console

from devmodel.build import guest
from devmodel.errors import DevmodelError
from devmodel.experiment.stages import Stages
from devmodel.machine.config import MachineConfig
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

Tell = Callable[[str], None]
T = TypeVar("T")

# Booting and the end are stages too.
OWN_STAGES = 2


class _Job(Generic[T]):
    """One model's VM and the work in it, in a thread of its own."""

    def __init__(
        self,
        config: MachineConfig,
        model: str,
        work: Callable[[Machine, Tell], T],
        stages: Stages,
        cancelled: threading.Event,
    ) -> None:
        """`cancelled` is all jobs': whichever fails sets it, and the others begin nothing new."""
        self.model = model
        self._machine = Machine(config)
        self._work = work
        self._stages = stages
        self._cancelled = cancelled

    def run(self) -> T | None:
        """What came of the work; None if it was cancelled."""
        if self._cancelled.is_set():
            return None
        self._stages.reach(self.model, "booting")
        try:
            with self._machine as vm:
                if self._cancelled.is_set():
                    return None
                result = self._work(vm, self._tell)
        except DevmodelError as error:
            if self._cancelled.is_set():
                return None
            self._cancelled.set()
            self._stages.reach(self.model, f"failed: {error.message}", done=True)
            raise
        self._stages.reach(self.model, "done", done=True)
        return result

    def _tell(self, stage: str) -> None:
        if not self._cancelled.is_set():
            self._stages.reach(self.model, stage)

    def end_soon(self) -> None:
        """Once it is cancelled. The VM is closed by the thread that opened it."""
        # Without QEMU its thread waits for nothing any more. There is none before the guest is
        # up; then the thread looks for itself.
        with contextlib.suppress(RuntimeError, ProcessLookupError):
            os.kill(self._machine.qemu_pid, signal.SIGTERM)


def run(
    models: Sequence[str],
    work: Callable[[Machine, Tell], T],
    console: Console,
    *,
    stages: int,
    width: int,
) -> dict[str, T]:
    """Do `work` in a VM of each of `models`, `width` at a time; what came of it, by model.

    `work` gets the VM and a function to tell of each of its `stages`. The first DevmodelError ends
    all of them.
    """
    reporter = Reporter(console)
    configs = {model: MachineConfig.load(model) for model in models}
    # Here and not in the threads: one bar at a time.
    for kernel in {config.kernel for config in configs.values()}:
        guest.build(kernel, reporter)
    with Stages(console, list(configs), stages + OWN_STAGES) as shown:
        cancelled = threading.Event()
        jobs = [_Job(config, model, work, shown, cancelled) for model, config in configs.items()]
        with ThreadPoolExecutor(width) as pool:
            # The longest first, so that it is not what is waited for at the end.
            order = sorted(jobs, key=lambda job: job.model != "private") if width > 1 else jobs
            futures = {job.model: pool.submit(job.run) for job in order}
            try:
                # Not one after the other: the first failure, wherever it is, ends all.
                for future in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
                    future.result()
                found = {model: future.result() for model, future in futures.items()}
            except BaseException:
                cancelled.set()
                for job in jobs:
                    job.end_soon()
                raise
    return {model: result for model in models if (result := found[model]) is not None}
