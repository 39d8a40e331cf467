"""A Perfetto file: tracks, and what happens on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Value = str | int
# All packets are one writer's.
SEQUENCE = 1
# Its strings and states are not told incrementally, so nothing is cleared but at the beginning.
CLEARED = 1


@dataclass(frozen=True)
class Switch:
    """One processor goes from a thread to another."""

    ns: int
    cpu: int
    before: tuple[str, int, int]
    """name, number, priority"""
    state: int
    """what the first one is left in, as the kernel's TASK_* bits"""
    after: tuple[str, int, int]


@dataclass
class Tracks:
    """Collects; `serialized` is the file."""

    ids: dict[tuple[str, ...], int] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """how many events there are of each category"""

    def track(self, *path: str, counter: bool = False) -> int:
        """The track of this name, below those before it."""
        if path not in self.ids:
            parent = self.track(*path[:-1]) if len(path) > 1 else 0
            self._make(path, {"name": path[-1], "parent": parent, "counter": counter})
        return self.ids[path]

    def thread(self, number: int, name: str) -> int:
        """The track of a guest's thread."""
        path = ("thread", str(number))
        if path not in self.ids:
            self._make(path, {"name": name, "thread": number})
        return self.ids[path]

    def _make(self, path: tuple[str, ...], track: dict[str, Any]) -> None:
        self.ids[path] = len(self.ids) + 1
        self.made.append({**track, "uuid": self.ids[path]})

    def instant(
        self, ns: int, track: int, name: str, category: str, args: Mapping[str, Value]
    ) -> None:
        """Something at one moment."""
        self._add(ns, {"type": "INSTANT", "track": track, "name": name, "of": category}, args)

    def begin(
        self, ns: int, track: int, name: str, category: str, args: Mapping[str, Value]
    ) -> None:
        """Something begins; the next `end` on this track is its end."""
        self._add(ns, {"type": "SLICE_BEGIN", "track": track, "name": name, "of": category}, args)

    def end(self, ns: int, track: int) -> None:
        """What began last on this track ends."""
        self._add(ns, {"type": "SLICE_END", "track": track}, {})

    def count(self, ns: int, track: int, value: int) -> None:
        """A counter stands there from now on."""
        self._add(ns, {"type": "COUNTER", "track": track, "value": value}, {})

    def _add(self, ns: int, event: dict[str, Any], args: Mapping[str, Value]) -> None:
        self.events.append((ns, len(self.events), {**event, "args": args}))
        if "of" in event:
            self.counts[event["of"]] += 1

    def serialized(self) -> bytes:
        """The file, in order of time."""
        from perfetto.trace_builder.proto_builder import TraceProtoBuilder

        builder = TraceProtoBuilder()
        for track in self.made:
            _describe(builder.add_packet(), track)
        # Its time is the default clock's, whichever that is: there is one only.
        for ns, _, event in sorted(self.events, key=lambda item: item[:2]):
            _write(builder.add_packet(), ns, event)
        for switch in sorted(self.switches, key=lambda item: item.ns):
            _switched(builder.add_packet(), switch)
        for number, packet in enumerate(builder.trace.packet):
            packet.trusted_packet_sequence_id = SEQUENCE
            if not number:
                packet.sequence_flags = CLEARED
        data: bytes = builder.serialize()
        return data


def _describe(packet: Any, track: dict[str, Any]) -> None:
    told = packet.track_descriptor
    told.uuid = track["uuid"]
    if "thread" in track:
        # A thread of its own process: tracepoints do not say whose it is.
        told.thread.pid = told.thread.tid = track["thread"]
        told.thread.thread_name = track["name"]
        return
    told.name = track["name"]
    if track["parent"]:
        told.parent_uuid = track["parent"]
    if track["counter"]:
        told.counter.SetInParent()


def _write(packet: Any, ns: int, event: dict[str, Any]) -> None:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

    packet.timestamp = ns
    told = packet.track_event
    told.type = TrackEvent.Type.Value(f"TYPE_{event['type']}")
    told.track_uuid = event["track"]
    if "name" in event:
        told.name = event["name"]
        told.categories.append(event["of"])
    if "value" in event:
        told.counter_value = event["value"]
    for name, value in event["args"].items():
        annotation = told.debug_annotations.add()
        annotation.name = name
        if isinstance(value, int):
            annotation.int_value = value
        else:
            annotation.string_value = value


def _switched(packet: Any, switch: Switch) -> None:
    packet.ftrace_events.cpu = switch.cpu
    event = packet.ftrace_events.event.add()
    event.timestamp = switch.ns
    told = event.sched_switch
    told.prev_comm, told.prev_pid, told.prev_prio = switch.before
    told.prev_state = switch.state
    told.next_comm, told.next_pid, told.next_prio = switch.after
    event.pid = switch.before[1]
