"""One VM for each memory model, and work in each of them, side by side or one after the other."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
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

T = TypeVar("T")

# Booting and the end are stages too.
OWN_STAGES = 2

log = logging.getLogger(__name__)


class Part(Generic[T]):
    """One model's VM and the work in it, in a thread of its own."""

    def __init__(
        self,
        config: MachineConfig,
        model: str,
        work: Callable[[Machine, Part[T]], T],
        stages: Stages,
        cancelled: threading.Event,
        kernel: Background | None,
    ) -> None:
        """`cancelled` is all parts': once it is set, none begins anything new.

        `kernel` is what has to be built before this one can boot.
        """
        self.model = model
        self._machine = Machine(config)
        self._work = work
        self._stages = stages
        self._cancelled = cancelled
        self._kernel = kernel

    def run(self) -> T | None:
        """What came of the work; None if it was cancelled. DevmodelError if it failed."""
        try:
            result = self._run()
        except DevmodelError as error:
            if self.cancelled:
                return None
            self._stages.reach(self.model, f"failed: {error.message}", done=True)
            raise
        if result is not None:
            self._stages.reach(self.model, "done", done=True)
        return result

    def _run(self) -> T | None:
        if self._kernel is not None and not self.cancelled:
            self._stages.reach(self.model, "waiting for its kernel")
            try:
                self._kernel.wait()
            except BuildFailed as error:
                raise BuildFailed(f"no kernel: {error.message}", details=error.details) from error
        if self.cancelled:
            return None
        self._stages.reach(self.model, "booting")
        with self._machine as vm:
            return None if self.cancelled else self._work(vm, self)

    def tell(self, stage: str) -> None:
        """For the work: what it is at."""
        if not self.cancelled:
            self._stages.reach(self.model, stage)

    @property
    def cancelled(self) -> bool:
        """For the work: whether what fails now was made to."""
        return self._cancelled.is_set()

    def end_soon(self) -> None:
        """Once it is cancelled. The VM is closed by the thread that opened it."""
        if self._kernel is not None:
            self._kernel.stop()
        # Without QEMU its thread waits for nothing any more. There is none before the guest is
        # up; then the thread looks for itself.
        with contextlib.suppress(RuntimeError, ProcessLookupError):
            os.kill(self._machine.qemu_pid, signal.SIGTERM)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of the models: each is in one of the two."""

    results: dict[str, T]
    failed: dict[str, DevmodelError]

    def tell(self, console: Console) -> None:
        """A line for each failure."""
        for model, error in self.failed.items():
            line = " ".join(f"{model}: {error}".split())
            console.print(line, markup=False, soft_wrap=True)

    @property
    def exit_code(self) -> int:
        """0, or that of the first failure."""
        return next((int(error.exit_code) for error in self.failed.values()), 0)


def run(
    machines: Mapping[str, MachineConfig],
    work: Callable[[Machine, Part[T]], T],
    console: Console,
    *,
    stages: int,
    width: int,
    came: Callable[[str, T], None] = lambda *_: None,
) -> Outcome[T]:
    """Do `work` in a VM of each model's machine, `width` at a time; what came of it.

    `work` gets the VM and its part, to tell of each of its `stages`; `came` is called with a
    model and its result as soon as there is one, from any thread. A DevmodelError, whether of the
    work, of the VM or of its kernel, costs its model only; anything else ends all of them. Kernels
    that take minutes to build are built meanwhile, and their models come last.
    """
    reporter = Reporter(console)
    slow = [model for model, config in machines.items() if kernel.takes_minutes(config.kernel)]
    # Here and not in the threads: one bar at a time.
    for wanted, qemu in {(c.kernel, c.qemu) for model, c in machines.items() if model not in slow}:
        guest.build(wanted, reporter, qemu=qemu)
    with contextlib.ExitStack() as stack:
        kernels: dict[KernelConfig, Background] = {}
        for model in slow:
            wanted = machines[model].kernel
            if wanted not in kernels:
                minutes = own.minutes(wanted)
                reporter.note(f"{model}: its kernel is built meanwhile, in about {minutes} minutes")
                kernels[wanted] = Background(wanted, reporter.note)
                stack.callback(kernels[wanted].stop)
        shown = stack.enter_context(Stages(console, list(machines), stages + OWN_STAGES))
        cancelled = threading.Event()
        parts = [
            Part(config, model, work, shown, cancelled, kernels.get(config.kernel))
            for model, config in machines.items()
        ]
        found: dict[str, T] = {}
        failed: dict[str, DevmodelError] = {}
        with ThreadPoolExecutor(width) as pool:

            def one(part: Part[T]) -> None:
                try:
                    result = part.run()
                except DevmodelError as error:
                    failed[part.model] = error
                    log.info("%s: %s", part.model, error.details)
                    return
                if result is not None:
                    found[part.model] = result
                    came(part.model, result)

            # The longest first, so that it is not what is waited for at the end; what has to
            # wait last.
            order = sorted(parts, key=lambda part: part.model != "private") if width > 1 else parts
            order = sorted(order, key=lambda part: part.model in slow)
            futures = [pool.submit(one, part) for part in order]
            try:
                # Not one after the other: the first bug, wherever it is, ends all.
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                cancelled.set()
                for part in parts:
                    part.end_soon()
                raise
    return Outcome(
        {model: found[model] for model in machines if model in found},
        {model: failed[model] for model in machines if model in failed},
    )
