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

from devmodel.build import guest, kernel, own
from devmodel.build.background import Background
from devmodel.build.config import KernelConfig
from devmodel.errors import BuildFailed, DevmodelError
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
        kernel: Background | None,
    ) -> None:
        """`cancelled` is all jobs': whichever fails sets it, and the others begin nothing new.

        `kernel` is what has to be built before this one can boot.
        """
        self.model = model
        self._machine = Machine(config)
        self._work = work
        self._stages = stages
        self._cancelled = cancelled
        self._kernel = kernel

    def run(self) -> T | None:
        """What came of the work; None if it was cancelled, or its kernel could not be built."""
        if self._cancelled.is_set() or not self._built():
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

    def _built(self) -> bool:
        if self._kernel is not None:
            self._stages.reach(self.model, "waiting for its kernel")
            try:
                self._kernel.wait()
            except BuildFailed as error:
                # The others need not suffer for it.
                if not self._cancelled.is_set():
                    self._stages.reach(self.model, f"no kernel: {error.message}", done=True)
                return False
        return not self._cancelled.is_set()

    def _tell(self, stage: str) -> None:
        if not self._cancelled.is_set():
            self._stages.reach(self.model, stage)

    def end_soon(self) -> None:
        """Once it is cancelled. The VM is closed by the thread that opened it."""
        if self._kernel is not None:
            self._kernel.stop()
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
    came: Callable[[str, T], None] = lambda *_: None,
) -> dict[str, T]:
    """Do `work` in a VM of each of `models`, `width` at a time; what came of it, by model.

    `work` gets the VM and a function to tell of each of its `stages`; `came` is called with a
    model and its result as soon as there is one, from any thread. The first DevmodelError ends all
    of them. Kernels that take minutes to build are built meanwhile, and their models come last; a
    model whose kernel cannot be built has no result.
    """
    reporter = Reporter(console)
    configs = {model: MachineConfig.load(model) for model in models}
    slow = [model for model, config in configs.items() if kernel.takes_minutes(config.kernel)]
    # Here and not in the threads: one bar at a time.
    for wanted, qemu in {(c.kernel, c.qemu) for model, c in configs.items() if model not in slow}:
        guest.build(wanted, reporter, qemu=qemu)
    with contextlib.ExitStack() as stack:
        kernels: dict[KernelConfig, Background] = {}
        for model in slow:
            wanted = configs[model].kernel
            if wanted not in kernels:
                minutes = own.minutes(wanted)
                reporter.note(f"{model}: its kernel is built meanwhile, in about {minutes} minutes")
                kernels[wanted] = Background(wanted, reporter.note)
                stack.callback(kernels[wanted].stop)
        shown = stack.enter_context(Stages(console, list(configs), stages + OWN_STAGES))
        cancelled = threading.Event()
        jobs = [
            _Job(config, model, work, shown, cancelled, kernels.get(config.kernel))
            for model, config in configs.items()
        ]
        found: dict[str, T] = {}
        with ThreadPoolExecutor(width) as pool:

            def one(job: _Job[T]) -> None:
                if (result := job.run()) is not None:
                    found[job.model] = result
                    came(job.model, result)

            # The longest first, so that it is not what is waited for at the end; what has to
            # wait last.
            order = sorted(jobs, key=lambda job: job.model != "private") if width > 1 else jobs
            order = sorted(order, key=lambda job: job.model in slow)
            futures = [pool.submit(one, job) for job in order]
            try:
                # Not one after the other: the first failure, wherever it is, ends all.
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                cancelled.set()
                for job in jobs:
                    job.end_soon()
                raise
    return {model: found[model] for model in models if model in found}
