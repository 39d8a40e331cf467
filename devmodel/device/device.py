"""The device: registers, engines and rings put together, driven by `Device.step`.

One thread steps the device. Every step looks at the control ring first, again before each
engine's burst, so the latency of an invalidate is one burst; nothing runs between steps. The
caller loops::

    while True:
        if not device.step() and device.arm():
            wait to be told of more, but not for long: correctness never rests on it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from devmodel.abi.layout import LAYOUT_HASH
from devmodel.abi.registers import (
    ABI_MAJOR,
    ABI_MINOR,
    DEVICE_PAGE,
    DRIVER_PAGE,
    MAGIC,
    DeviceRegs,
    DeviceState,
    DriverRegs,
    Feature,
    Vector,
)
from devmodel.abi.rings import (
    Completion,
    ComputeCommand,
    ControlCommand,
    ControlOp,
    CopyCommand,
    Status,
)
from devmodel.device.compute import ComputeEngine
from devmodel.device.config import ALONE, FAILING_SHIFT, DeviceConfig, Identity
from devmodel.device.copy_engine import CopyEngine
from devmodel.device.counters import ContextPage, CounterPage
from devmodel.device.faults import EveryNth, StuckMemory
from devmodel.device.hardware import USUAL, Hardware
from devmodel.device.memory import HBM_BASE, BadAddress, Bytes, Memory
from devmodel.device.mmu import Mmu
from devmodel.device.programs import BUILTIN
from devmodel.device.programs.registry import Program
from devmodel.device.ring import Consumer, Producer, fence
from devmodel.device.trace import Sink, Trace

_STATUS_WORD = ControlCommand.offset("status")
_EPOCH = (DRIVER_PAGE + DriverRegs.offset("epoch")) // 8
_LIFE = (DRIVER_PAGE + DriverRegs.offset("generation")) // 8
_HEARTBEAT = (DEVICE_PAGE + DeviceRegs.offset("heartbeat")) // 8
_RESET_ACK = (DEVICE_PAGE + DeviceRegs.offset("reset_ack")) // 8
_MAGIC = (DEVICE_PAGE + DeviceRegs.offset("magic")) // 8


class Device:
    """A device on a shared region.

    `region` is writable memory of at least the control part of BAR 2 (1 MiB), 8-byte aligned;
    `ram` is guest RAM as (guest-physical base, uint8 array) pieces; `hbm` is a uint8 array of
    `config.hbm_size` bytes, wherever it lives; `peers` is the HBM of other devices,
    by number. `interrupt` is called to interrupt the guest. `programs` are what may be launched,
    by name. `trace` gets the trace; without it there is none. `identity` says which device this is,
    `hardware` what it is made of. `empty_hbm` is called with the first reset of a driver that
    knows of this life: what the HBM held has not outlived the one before. `ValueError` if these
    do not fit together.
    """

    def __init__(
        self,
        config: DeviceConfig,
        region: memoryview,
        ram: Iterable[tuple[int, Bytes]],
        hbm: Bytes | None,
        interrupt: Callable[[Vector], None],
        programs: Mapping[str, Program] = BUILTIN,
        peers: Mapping[int, Bytes] | None = None,
        trace: Sink | None = None,
        identity: Identity = ALONE,
        hardware: Hardware = USUAL,
        empty_hbm: Callable[[], None] | None = None,
    ) -> None:
        if (0 if hbm is None else hbm.size) != config.hbm_size:
            raise ValueError("hbm does not have the size that the configuration says")
        self.config = config
        self.identity = identity
        self.hardware = hardware
        self._region = region.cast("B")
        rings = self._rings = hardware.rings(trace=trace is not None)
        if self._region.nbytes < max(ring.end for ring in rings.values()):
            raise ValueError("the region is too small for the rings")
        # A whole number of words: cast refuses anything else.
        self._region = self._region[: self._region.nbytes & ~7]
        self._words = self._region.cast("Q")
        self._interrupt = interrupt
        self._empty_hbm = empty_hbm
        self._counter_page = CounterPage(self._words)
        self.counters = self._counter_page.now
        self._context_page = ContextPage(self._words)
        memory = Memory(ram, hbm, peers)
        if config.faults.stuck_address_line:
            memory = StuckMemory(ram, hbm, peers)
            memory.line = config.faults.stuck_address_line
        if config.faults.failing_page:
            start = HBM_BASE + (config.faults.failing_page << FAILING_SHIFT)
            memory.failing = range(start, start + (1 << FAILING_SHIFT))
        self._mmu = Mmu(memory, self.counters, hardware.page_shift, hardware.tlb_entries)
        self._copy_engine = CopyEngine(
            memory, self.counters, hardware.page_size, hardware.burst_bytes
        )
        self._compute_engine = ComputeEngine(
            memory,
            self._mmu,
            self.counters,
            programs,
            hardware.burst_bytes,
            hardware.max_programs,
            self._context_page.touch,
        )
        self._control = Consumer(self._region, rings["control"], self._ring_error)
        self._copy = Consumer(self._region, rings["copy"], self._ring_error)
        self._compute = Consumer(self._region, rings["compute"], self._compute_ring_error)
        self._completion = Producer(self._region, rings["completion"], self._ring_error)
        self._fault = Producer(self._region, rings["fault"], self._ring_error)
        self._consumers = (self._control, self._copy, self._compute)
        self._completions: deque[Completion] = deque()
        # Slots of the compute ring whose launches were killed before they were taken.
        self._killed: set[int] = set()
        self._trace: Trace | None = None
        if trace is not None:
            ring = Consumer(self._region, rings["trace"], self._trace_ring_error)
            self._trace = Trace(config, identity, hardware, trace, ring)
            self._mmu.trace = self._copy_engine.trace = self._trace
        self._lost_invalidates = EveryNth(config.faults.lost_invalidate)
        # Acknowledged and not done yet: the step they are due at, ctx, va, length.
        self._late_invalidates: deque[tuple[int, int, int, int]] = deque()
        if config.faults.lost_dirty:
            self._mmu.lost_dirty = EveryNth(config.faults.lost_dirty)
        self._most_completions = 2 * (hardware.max_programs + hardware.compute_entries)
        self._armed = False
        self._heartbeat = 0
        # An epoch that an earlier life of this device acknowledged is a driver's that has to
        # start again: its rings mean nothing here. Any other epoch is a request still open.
        self._epoch = self._words[_RESET_ACK]
        self._ready = False
        self._identify()

    # Registers

    def _identify(self) -> None:
        """Write DeviceRegs, the magic last: whoever finds it finds the rest."""
        config, identity, rings = self.config, self.identity, self._rings
        registers = DeviceRegs(
            magic=MAGIC,
            abi_major=ABI_MAJOR,
            abi_minor=ABI_MINOR,
            layout_hash=LAYOUT_HASH,
            generation=identity.generation,
            reset_ack=self._epoch,
            state=DeviceState.READY,
            peer=identity.peer,
            number=identity.number,
            model=config.model.number,
            page_shift=self.hardware.page_shift,
            node=config.numa_node,
            features=self._features,
            hbm_size=config.hbm_size,
            hbm_offset=config.hbm_offset,
            region_size=config.region_size,
            **{f"{name}_offset": ring.offset for name, ring in rings.items()},
            **{f"{name}_entries": ring.entries for name, ring in rings.items()},
        )
        words = memoryview(registers.pack()).cast("Q")
        self._words[_MAGIC] = 0
        for index, word in enumerate(words):
            if index != _MAGIC:
                self._words[index] = word
        self._words[_MAGIC] = MAGIC

    @property
    def _features(self) -> Feature:
        features = Feature.HUGE_LEAVES | Feature.EVENT_SUPPRESSION
        if self.config.hbm_size:
            features |= Feature.HBM
        if self.config.hbm_offset:
            features |= Feature.HBM_IN_BAR
        if not self.config.hbm_survives:
            features |= Feature.HBM_VOLATILE
        if self._trace is not None:
            features |= Feature.TRACE
        return features

    def _look_at_epoch(self) -> None:
        epoch = self._words[_EPOCH]
        if epoch in (0, self._epoch):
            return
        self._compute_engine.reset()
        self._copy_engine.reset()
        self._mmu.reset()
        self._completions.clear()
        self._killed.clear()
        self._late_invalidates.clear()
        for ring in (*self._consumers, self._completion, self._fault):
            ring.clear()
        if self._trace is not None:
            self._trace.reset(epoch)
        self._counter_page.clear()
        self._context_page.clear()
        self._epoch = epoch
        self._ready = True
        self._armed = False
        self._words[_RESET_ACK] = epoch
        if self._empty_hbm is not None and self._words[_LIFE] == self.identity.generation:
            # Acknowledged already: a lot of memory takes seconds, and nothing is served before.
            self._empty_hbm()
            self._empty_hbm = None

    def close(self) -> None:
        """The device is not stepped any more: end its trace, if there is one."""
        if self._trace is not None:
            self._trace.close()

    # Stepping

    def step(self) -> bool:
        """Do at most one burst of each engine. True if another step would find work."""
        self._heartbeat += 1
        self._words[_HEARTBEAT] = self._heartbeat
        self._look_at_epoch()
        if not self._ready:
            return False
        if self._late_invalidates:
            self._do_late_invalidates()
        if self._trace is not None:
            self._trace.new_step()
        if self._armed:
            self._armed = False
            for ring in self._consumers:
                ring.set_event(False)
        self._serve_control()
        self._step_copy()
        self._serve_control()
        self._step_compute()
        self._flush()
        self._counter_page.publish()
        self._context_page.publish()
        return self._has_work()

    def arm(self) -> bool:
        """Ask to be told of work before a sleep. False if there is work after all: do not sleep."""
        if not self._ready:
            return self._words[_EPOCH] in (0, self._epoch)
        if self._trace is not None:
            self._trace.flush()
        self._armed = True
        for ring in self._consumers:
            ring.set_event(True)
        # The driver stores `produced` and then looks at `event`: here it is the other way round.
        fence()
        return not self._has_work() and self._words[_EPOCH] in (0, self._epoch)

    def _has_work(self) -> bool:
        return (
            self._copy_engine.busy
            or self._compute_engine.runnable
            or self._control.available() > 0
            or (self._copy.available() > 0 and self._can_take())
            or (self._compute.available() > 0 and self._can_launch())
        )

    def _can_take(self) -> bool:
        """No command is taken while completions of earlier ones find no room."""
        return not self._completions

    def _can_launch(self) -> bool:
        return self._can_take() and not self._compute_engine.full

    def _ring_error(self) -> None:
        self.counters.errors += 1

    def _trace_ring_error(self) -> None:
        self.counters.errors += 1
        if self._trace is not None:
            self._trace.hole()

    def _compute_ring_error(self) -> None:
        self.counters.errors += 1
        self._killed.clear()

    # Control

    def _serve_control(self) -> None:
        for _ in range(self._control.available()):
            command = ControlCommand.unpack(self._control.peek())
            status = self._control_command(command)
            if status != Status.OK:
                self.counters.errors += 1
            if self._trace is not None:
                self._trace.command(command, status)
            # What belongs to a command is to be seen before it is acknowledged.
            self._flush()
            self._counter_page.publish()
            start = self._control.offset(self._control.index) + _STATUS_WORD
            self._region[start : start + 4] = int(status).to_bytes(4, "little")
            self._control.advance()

    def _control_command(self, command: ControlCommand) -> Status:
        match command.opcode:
            case ControlOp.NOP:
                return Status.OK
            case ControlOp.CONTEXT_CREATE:
                return self._create_context(command)
            case ControlOp.CONTEXT_DESTROY:
                return self._destroy_context(command.ctx)
            case ControlOp.INVALIDATE:
                return self._invalidate(command)
            case ControlOp.AGE:
                return self._age(command)
            case ControlOp.REPLAY:
                self._compute_engine.replay(command.ctx, command.seq)
                return Status.OK
            case ControlOp.CANCEL:
                # What is not there any more needs no end: the driver may have been overtaken.
                self._compute_engine.cancel(command.ctx, command.seq)
                return Status.OK
            case ControlOp.STOP:
                self._kill_waiting_launches(lambda launch: launch.cookie == command.cookie)
                self._compute_engine.stop(command.cookie)
                return Status.OK
        return Status.BAD_COMMAND

    def _create_context(self, command: ControlCommand) -> Status:
        try:
            created = self._mmu.create(command.ctx, command.root)
        except BadAddress:
            return Status.BAD_ADDRESS
        if created is None:
            return Status.BAD_ARGUMENT
        self._context_page.add(created.counters)
        return Status.OK

    def _destroy_context(self, ctx: int) -> Status:
        if self._mmu.context(ctx) is None:
            return Status.NO_CONTEXT
        self._kill_waiting_launches(lambda launch: launch.ctx == ctx)
        self._compute_engine.stop_context(ctx)
        self._mmu.destroy(ctx)
        self._context_page.remove(ctx)
        return Status.OK

    def _invalidate(self, command: ControlCommand) -> Status:
        context = self._mmu.context(command.ctx)
        if context is None:
            return Status.NO_CONTEXT
        if not self._mmu.are_pages(command.va, command.length):
            return Status.BAD_ARGUMENT
        self.counters.invalidates_acknowledged += 1
        context.counters.invalidates_acknowledged += 1
        self._context_page.touch(context.counters)
        late = self.config.faults.late_invalidate
        if late:
            due = self._heartbeat + late
            self._late_invalidates.append((due, command.ctx, command.va, command.length))
        elif not self._lost_invalidates.one():
            self._mmu.invalidate(command.ctx, command.va, command.length)
        return Status.OK

    def _age(self, command: ControlCommand) -> Status:
        if self._mmu.context(command.ctx) is None:
            return Status.NO_CONTEXT
        aged = self._mmu.age(command.ctx, command.va, command.length)
        return Status.OK if aged else Status.BAD_ARGUMENT

    def _do_late_invalidates(self) -> None:
        while self._late_invalidates and self._late_invalidates[0][0] <= self._heartbeat:
            _, ctx, va, length = self._late_invalidates.popleft()
            self._mmu.invalidate(ctx, va, length)

    def _kill_waiting_launches(self, wanted: Callable[[ComputeCommand], bool]) -> None:
        """End launches that are still in the ring, so that none comes to life later."""
        for ahead in range(self._compute.available()):
            index = self._compute.index + ahead
            launch = ComputeCommand.unpack(self._compute.peek(ahead))
            if index not in self._killed and wanted(launch):
                self._killed.add(index)
                self._compute_engine.kill_unlaunched(launch.cookie)

    # Engines

    def _step_copy(self) -> None:
        if not self._copy_engine.busy and self._can_take() and self._copy.available():
            command = CopyCommand.unpack(self._copy.peek())
            self._copy.advance()
            refused = self._copy_engine.start(command)
            if refused is not None:
                self._completions.append(refused)
        done = self._copy_engine.step()
        if done is not None:
            self._completions.append(done)
        if self._completions:
            self._flush()

    def _step_compute(self) -> None:
        waiting = self._compute.available()
        while waiting and self._can_launch():
            command = ComputeCommand.unpack(self._compute.peek())
            index = self._compute.index
            self._compute.advance()
            waiting -= 1
            if index in self._killed:
                self._killed.discard(index)
            else:
                self._compute_engine.launch(command)
        self._compute_engine.step()

    def _flush(self) -> None:
        """Hand over what the guest is to hear, and ring once for each ring that wants it."""
        if self._compute_engine.ended:
            self._completions.extend(self._compute_engine.ended)
            self._compute_engine.ended.clear()
            while len(self._completions) > self._most_completions:
                # Only a guest that takes none, and whose indices jump, gets here.
                self._completions.pop()
                self.counters.errors += 1
        if self._completions:
            # Whoever hears of an end finds it counted.
            self._counter_page.publish()
            for _ in range(min(self._completion.room(), len(self._completions))):
                self._completion.push(self._completions.popleft().pack())
        self._compute_engine.write_faults(self._fault)
        if self._completion.interrupt_due():
            self._interrupt(Vector.COMPLETION)
        if self._fault.interrupt_due():
            self._interrupt(Vector.FAULT)
