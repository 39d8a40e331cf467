"""The compute engine: device programs as coroutines, suspended on faults.

Programs that can run take turns, one burst each. A program that misses pages gets fault records
and waits until all of them were replayed, one was cancelled, or it is stopped::

    runnable ──burst──> runnable | ended
       ^  └──miss──> waiting (records queued, then written with a seq each)
       └──REPLAY(seq >= its last)──┘   └──CANCEL / STOP / CONTEXT_DESTROY──> ended

Programs are users' code: whatever comes out of one, returned, awaited or raised, ends that program
and is explained in the log. So `BaseException` is what is caught here, without an exception; the
agent lets no signal raise, so none of them means somebody else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.rings import Access, Completion, ComputeCommand, Engine, FaultRecord, Status
from devmodel.device.access import (
    MAX_FAULT_PAGES,
    MAX_FAULT_RECORDS,
    BadArgument,
    Missing,
    Pause,
    ProgramMemory,
)
from devmodel.device.counters import charge, shared
from devmodel.device.memory import Memory
from devmodel.device.mmu import Mmu
from devmodel.device.port import Port
from devmodel.device.programs.registry import Program, text_of
from devmodel.device.ring import Producer

_MASK64 = (1 << 64) - 1

# A record's access, va, npages and bus.
_Fault = tuple[Access, int, int, int]

log = logging.getLogger(__name__)


class _BadResult(Exception):
    """A program returned, or awaited, what no program may."""


@dataclass(eq=False)
class _Running:
    """A launched program. While it waits: records not yet written, and those that were, by seq."""

    command: ComputeCommand
    name: str
    counters: ContextCounters
    memory: ProgramMemory
    coroutine: Coroutine[Any, None, object]
    unwritten: deque[_Fault] = field(default_factory=deque)
    written: dict[int, FaultRecord] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        return bool(self.unwritten or self.written)


class ComputeEngine:
    """Launches, runs and ends programs; completions collect in `ended`, oldest first.

    At most `max_programs` run or wait at a time; the caller asks `full` before it launches.
    """

    def __init__(
        self,
        memory: Memory,
        mmu: Mmu,
        counters: DeviceCounters,
        programs: Mapping[str, Program],
        burst_bytes: int,
        max_programs: int,
        touched: Callable[[ContextCounters], None] = lambda _: None,
    ) -> None:
        """`touched` is told whose counters have risen."""
        self._memory = memory
        self._mmu = mmu
        self._counters = counters
        self._programs = programs
        self._burst = burst_bytes
        self._max = max_programs
        self._touched = touched
        self._running: dict[int, _Running] = {}
        self._runnable: deque[_Running] = deque()
        self._unwritten: deque[_Running] = deque()
        self._by_seq: dict[int, _Running] = {}
        self._next_seq = 0
        self.ended: deque[Completion] = deque()

    @property
    def full(self) -> bool:
        """Whether no further program can be launched now."""
        return len(self._running) >= self._max

    @property
    def runnable(self) -> bool:
        """Whether `step` would do something."""
        return bool(self._runnable)

    def reset(self) -> None:
        """Drop all programs, without completions, and start fault records again from 0."""
        for running in self._running.values():
            _close(running)
        self._running.clear()
        self._runnable.clear()
        self._unwritten.clear()
        self._by_seq.clear()
        self._next_seq = 0
        self.ended.clear()

    # Launch and end

    def launch(self, command: ComputeCommand) -> None:
        """Start a program, or end it at once with the status that says why not."""
        context = self._mmu.context(command.ctx)
        program = self._programs.get(command.program.decode("ascii", "replace"))
        if context is None:
            return self._refuse(command, Status.NO_CONTEXT)
        if program is None:
            return self._refuse(command, Status.NO_PROGRAM)
        if command.cookie in self._running or not program.accepts(command.nargs):
            return self._refuse(command, Status.BAD_ARGUMENT)
        port = Port(self._memory, self._mmu, self._counters, context)
        memory = ProgramMemory(port, self._burst)
        try:
            coroutine = program.start(memory, command.args[: command.nargs])
        except BaseException as error:
            _explain(error, f"program {program.name} did not start")
            return self._refuse(command, Status.PROGRAM_ERROR)
        running = _Running(command, program.name, context.counters, memory, coroutine)
        self._running[command.cookie] = running
        self._runnable.append(running)
        return None

    def _refuse(self, command: ComputeCommand, status: Status) -> None:
        self._counters.errors += 1
        self._report(command.cookie, status)

    def kill_unlaunched(self, cookie: int) -> None:
        """Report a launch as killed that was never taken."""
        self._report(cookie, Status.KILLED)

    def _report(
        self,
        cookie: int,
        status: Status,
        result: tuple[int, int] = (0, 0),
        fault: FaultRecord | None = None,
    ) -> None:
        self._counters.programs += 1
        self.ended.append(
            Completion(
                cookie=cookie,
                engine=Engine.COMPUTE,
                status=status,
                result=result,
                fault_va=fault.va if fault else 0,
                fault_access=fault.access if fault else 0,
            )
        )

    def _end(
        self,
        running: _Running,
        status: Status,
        result: tuple[int, int] = (0, 0),
        fault: FaultRecord | None = None,
    ) -> None:
        self._forget_faults(running)
        if running in self._runnable:
            self._runnable.remove(running)
        del self._running[running.command.cookie]
        running.counters.programs += 1
        self._touched(running.counters)
        _close(running)
        self._report(running.command.cookie, status, result, fault)

    # What the control ring asks for

    def stop(self, cookie: int) -> None:
        """End the program `cookie` as KILLED, if it is there."""
        running = self._running.get(cookie)
        if running is not None:
            self._end(running, Status.KILLED)

    def stop_context(self, ctx: int) -> None:
        """End all programs of a context as KILLED."""
        for running in [r for r in self._running.values() if r.command.ctx == ctx]:
            self._end(running, Status.KILLED)

    def replay(self, ctx: int, seq: int) -> None:
        """Let programs of `ctx` go on all of whose fault records are written and <= `seq`."""
        for running in [r for r in self._running.values() if r.written and not r.unwritten]:
            if running.command.ctx == ctx and max(running.written) <= seq:
                self._forget_faults(running)
                self._counters.replays += 1
                self._runnable.append(running)

    def cancel(self, ctx: int, seq: int) -> None:
        """End the program of `ctx` that waits for record `seq`, if one does, as FAULT."""
        running = self._by_seq.get(seq)
        if running is not None and running.command.ctx == ctx:
            self._end(running, Status.FAULT, fault=running.written[seq])

    # Faults

    def _forget_faults(self, running: _Running) -> None:
        for seq in running.written:
            del self._by_seq[seq]
        running.written.clear()
        if running.unwritten:
            running.unwritten.clear()
            self._unwritten.remove(running)

    def write_faults(self, ring: Producer) -> None:
        """Write as many of the waiting fault records as the ring has room for, oldest first."""
        room = ring.room() if self._unwritten else 0
        while self._unwritten and room:
            running = self._unwritten[0]
            access, va, npages, bus = running.unwritten.popleft()
            record = FaultRecord(
                seq=self._next_seq,
                cookie=running.command.cookie,
                va=va,
                ctx=running.command.ctx,
                access=access,
                npages=npages,
                bus=bus,
            )
            ring.push(record.pack())
            running.written[record.seq] = record
            self._by_seq[record.seq] = running
            self._next_seq += 1
            self._counters.fault_records += 1
            running.counters.fault_records += 1
            self._touched(running.counters)
            room -= 1
            if not running.unwritten:
                self._unwritten.popleft()

    # Running

    def step(self) -> None:
        """Run the next program for one burst."""
        if not self._runnable:
            return
        running = self._runnable.popleft()
        before = shared(self._counters)
        try:
            running.memory.new_burst()
            event = running.coroutine.send(None)
            if isinstance(event, Pause):
                self._runnable.append(running)
            elif isinstance(event, Missing):
                running.unwritten.extend(_faults(event))
                self._unwritten.append(running)
            else:
                raise _BadResult(f"awaited {event!r}, which is not the device's memory")
        except StopIteration as stop:
            self._finish(running, stop.value)
        except BadArgument as error:
            log.info("program %s: %s", running.name, text_of(error))
            self._end(running, Status.BAD_ARGUMENT)
        except BaseException as error:
            self._fail(running, error)
        finally:
            charge(running.counters, before, shared(self._counters))
            self._touched(running.counters)

    def _finish(self, running: _Running, value: object) -> None:
        try:
            result = _result(value)
        except BaseException as error:
            self._fail(running, error)
        else:
            self._end(running, Status.OK, result)

    def _fail(self, running: _Running, error: BaseException) -> None:
        _explain(error, f"program {running.name} (cookie {running.command.cookie}) failed")
        self._end(running, Status.PROGRAM_ERROR)


def _faults(event: Missing) -> list[_Fault]:
    """What a program waits for, as its records say it. It may have made it up."""
    access = Access(event.access)
    bus = int(event.bus) & _MASK64
    faults = [(access, int(va), int(npages), bus) for va, npages in event.runs]
    if not 0 < len(faults) <= MAX_FAULT_RECORDS or not all(
        0 <= va <= _MASK64 and 0 < npages <= MAX_FAULT_PAGES for _, va, npages, _ in faults
    ):
        raise _BadResult(f"awaited {event!r}, which are no pages")
    return faults


def _result(value: object) -> tuple[int, int]:
    """What a program returned, as the two words of a completion."""
    if value is None:
        return 0, 0
    words = value if isinstance(value, tuple) else (value,)
    if len(words) > 2:
        raise ValueError(f"returned {len(words)} values; a completion has room for two")
    numbers = [int(word) & _MASK64 for word in words]
    return (*numbers, 0, 0)[:2]  # type: ignore[return-value]


def _close(running: _Running) -> None:
    """Unwind a program. It may object, which is logged and not waited for."""
    try:
        running.coroutine.close()
    except BaseException as error:
        _explain(error, f"program {running.name} did not end cleanly")


def _explain(error: BaseException, what: str) -> None:
    """Log an exception of a program's: its class may be the program's own, and fail in turn."""
    try:
        log.error("%s: %s", what, text_of(error), exc_info=error)
    except BaseException:
        log.error("%s with an exception that cannot be shown", what)
