"""From tracepoints and the devices' traces to tracks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_VALID, PTE_WRITE
from devmodel.abi.rings import ControlOp, Engine, Status
from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.timeline import bus
from devmodel.experiment.oracle.trace import DeviceTrace, Numbers
from devmodel.experiment.timeline.clock import Clock
from devmodel.experiment.timeline.ftrace import MARK, Event
from devmodel.experiment.timeline.tracks import Switch, Tracks, Value

GUEST, DRIVER, DEVICE = "guest", "driver", "device"
OURS = "devmodel_"
# Pages that get a track, the busiest.
MOST_PAGES = 200
# A record of more pages than this is nobody's own.
WIDE = 4096
# What sched_switch prints for a state, in the kernel's bits.
STATES = {"S": 1, "D": 2, "T": 4, "t": 8, "X": 16, "Z": 32, "P": 64, "I": 128}
SWITCH = re.compile(
    r"prev_comm=(.*) prev_pid=(\d+) prev_prio=(\d+) prev_state=(\S+) ==> "
    r"next_comm=(.*) next_pid=(\d+) next_prio=(\d+)$"
)
KINDS = {
    TraceKind.MAP: "map",
    TraceKind.DIRTY: "dirty",
    TraceKind.UPDATE: "rights taken",
    TraceKind.ACCESS: "access",
    TraceKind.COPY: "copy",
    TraceKind.FRAME_ALLOC: "frames given out",
    TraceKind.FRAME_FREE: "frames taken back",
}


class Assembly:
    """`tracks` of what happened from `first` to `last`, ns of the guest's clock."""

    def __init__(self, first: int, last: int, names: Mapping[int, str]) -> None:
        """`names` of threads, by number."""
        self.tracks = Tracks()
        self._first, self._last = first, last
        self._names = dict(names)
        self._running: dict[tuple[int, int], int] = {}
        """by device and cookie of a program: its lane"""

    def _within(self, ns: int) -> bool:
        return self._first <= ns <= self._last

    # The guest's tracepoints

    def events(self, events: Sequence[Event]) -> None:
        """Take them all. Programs and their names are those of exec."""
        for event in events:
            if event.name == "sched_process_exec":
                self._names[event.pid] = PurePosixPath(event.fields.get("filename", "")).name
            if self._within(event.ns):
                self._event(event)
        for (device, _), lane in self._running.items():
            # What runs on after the end has no other one.
            self.tracks.end(self._last, self._lane(device, lane))

    def _event(self, event: Event) -> None:
        name = event.name.removeprefix(OURS)
        if event.name == "sched_switch" and (found := SWITCH.match(event.text)):
            before = found[1], int(found[2]), int(found[3])
            after = found[5], int(found[6]), int(found[7])
            state = STATES.get(found[4].rstrip("+"), 0)
            self.tracks.switches.append(Switch(event.ns, event.cpu, before, state, after))
            self.tracks.counts[GUEST] += 1
            return
        thread = self._names.get(event.pid, "") or f"thread {event.pid}"
        args: dict[str, Value] = {"cpu": event.cpu, "thread": f"{thread} ({event.pid})"}
        if event.name == MARK:
            args["text"] = event.text
        for key, value in event.fields.items():
            args[key] = int(value) if re.fullmatch(r"-?\d+", value) else value
        track = self._place(event, thread)
        self.tracks.instant(event.ns, track, name, GUEST, args)
        if event.name == "devmodel_launch":
            self._launched(event, args)
        elif event.name == "devmodel_completion":
            self._completed(event)

    def _place(self, event: Event, thread: str) -> int:
        """The context's track; that of the thread if it is about none."""
        if event.name.startswith(OURS) and "ctx" in event.fields:
            device = event.number("device")
            return self.tracks.track(f"device {device}", _context(event.number("ctx")))
        return self.tracks.thread(event.pid, thread)

    def _launched(self, event: Event, args: dict[str, Value]) -> None:
        """A program: from launch to completion, as the guest sees it. Each lane runs one."""
        device, cookie = event.number("device"), event.number("cookie")
        busy = {lane for (owner, _), lane in self._running.items() if owner == device}
        lane = next(number for number in range(len(busy) + 1) if number not in busy)
        if self._running.setdefault((device, cookie), lane) != lane:
            return
        program = event.fields.get("program", "").strip("\0 ") or "program"
        self.tracks.begin(event.ns, self._lane(device, lane), program, GUEST, args)

    def _completed(self, event: Event) -> None:
        device = event.number("device")
        if event.number("engine") == Engine.COMPUTE:
            lane = self._running.pop((device, event.number("cookie")), None)
            if lane is not None:
                self.tracks.end(event.ns, self._lane(device, lane))

    def _lane(self, device: int, lane: int) -> int:
        """Programs that run at once are in lanes of their own."""
        name = f"compute engine, lane {lane + 1}" if lane else "compute engine"
        return self.tracks.track(f"device {device}", name)

    # The devices' traces

    def device(self, trace: DeviceTrace, clock: Clock | None, *, pages: bool) -> None:
        """Take one. Without a clock, only what the driver says has a time."""
        records = trace.records
        time = records["seq"].astype(np.int64)
        is_driver = records["kind"] < TraceKind.START
        if clock is not None:
            time = np.where(is_driver, time, clock.guest(time))
        shown = (time >= self._first) & (time <= self._last)
        if clock is None:
            shown &= is_driver
        own = f"device {trace.number}"
        self._frames(trace, time, shown & (records["kind"] != TraceKind.START), own)
        chosen = self._busiest(trace, shown) if pages else set()
        for at in np.flatnonzero(shown):
            self._record(trace, int(at), int(time[at]), own, chosen)

    def _record(
        self, trace: DeviceTrace, at: int, ns: int, own: str, chosen: set[tuple[int, int]]
    ) -> None:
        record = trace.records[at]
        kind = TraceKind(int(record["kind"]))
        side = DRIVER if kind < TraceKind.START else DEVICE
        args: dict[str, Value] = {"record": at}
        ctx, va, npages = int(record["ctx"]), int(record["va"]), int(record["npages"])
        rights, place, other = int(record["rights"]), int(record["bus"]), int(record["other"])
        name = KINDS.get(kind, kind.name.lower())
        if va or npages:
            args |= {"pages": npages, **({"va": f"{va:#x}"} if ctx else {})}
        match kind:
            case TraceKind.CONTROL:
                path = "control engine"
                name = _named(ControlOp, rights)
                args |= {"ctx": ctx, "status": _named(Status, other)}
            case TraceKind.COPY:
                path = "copy engine"
                name = "fill" if other == TRACE_NONE else "copy"
                args |= {"to": bus(place), **({"from": bus(other)} if name == "copy" else {})}
            case TraceKind.FRAME_ALLOC | TraceKind.FRAME_FREE:
                path = "driver"
                args |= {"at": bus(place)}
            case TraceKind.ACCESS:
                path = _context(ctx)
                name = _wanted(rights)
                args |= {"at": bus(place), "walked": other, "ctx": ctx}
            case TraceKind.MAP:
                path = _context(ctx)
                args |= {"at": bus(place), "rights": _rights(rights), "ctx": ctx}
            case TraceKind.UPDATE:
                path = _context(ctx)
                args |= {"left": _rights(rights), "ctx": ctx}
            case _:
                path = _context(ctx) if ctx else "driver" if side == DRIVER else "device"
        self.tracks.instant(ns, self.tracks.track(own, path), name, side, args)
        if chosen and ctx:
            size = 1 << trace.page_shift
            for page in range(va, va + min(npages, WIDE) * size, size):
                if (ctx, page) in chosen:
                    where = self.tracks.track(own, f"{_context(ctx)}, pages", f"{page:#x}")
                    self.tracks.instant(ns, where, name, side, args)

    def _frames(self, trace: DeviceTrace, time: Numbers, shown: np.ndarray, own: str) -> None:
        """A counter of the frames that the driver has given out."""
        at = trace.of(TraceKind.FRAME_ALLOC, TraceKind.FRAME_FREE)
        if not at.size:
            return
        given = trace.records["kind"][at] == TraceKind.FRAME_ALLOC
        npages = trace.npages(at)
        used = np.cumsum(np.where(given, npages, -npages))
        track = self.tracks.track(own, "HBM frames in use", counter=True)
        before = at[time[at] < self._first]
        self.tracks.count(self._first, track, int(used[before.size - 1]) if before.size else 0)
        for index in np.flatnonzero(shown[at]):
            self.tracks.count(int(time[at[index]]), track, int(used[index]))

    def _busiest(self, trace: DeviceTrace, shown: np.ndarray) -> set[tuple[int, int]]:
        """The pages, by context and address, that most is said of."""
        seen: Counter[tuple[int, int]] = Counter()
        records = trace.records
        for at in np.flatnonzero(shown & (records["ctx"] != 0) & (records["npages"] > 0)):
            ctx, va, npages = (int(records[name][at]) for name in ("ctx", "va", "npages"))
            for page in range(min(npages, WIDE)):
                seen[ctx, va + (page << trace.page_shift)] += 1
        return {page for page, _ in seen.most_common(MOST_PAGES)}


def _context(number: int) -> str:
    return f"context {number}"


def _named(kind: type[ControlOp] | type[Status], value: int) -> str:
    return kind(value).name if value in set(kind) else str(value)


def _wanted(rights: int) -> str:
    return "atomic" if rights & PTE_ATOMIC else "write" if rights & PTE_WRITE else "read"


def _rights(rights: int) -> str:
    if not rights & PTE_VALID:
        return "none"
    return "read" + ", write" * bool(rights & PTE_WRITE) + ", atomic" * bool(rights & PTE_ATOMIC)
