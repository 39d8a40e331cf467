"""Timelines: events of the guest's and traces of devices on one clock, as Perfetto reads them."""

import re
import sqlite3
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from oracle_world import World
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from devmodel import paths
from devmodel.abi.trace import TraceKind, TraceRecord
from devmodel.errors import ConfigError
from devmodel.experiment.oracle import trace as traces
from devmodel.experiment.timeline import clock, ftrace, guest
from devmodel.experiment.timeline.record import NO_CLOCK, Timeline, assemble

OFFSET, DRIFT = 123_456_789_000, 3e-4
FIRST = 5_000_000_000
HEAD = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 12/12   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
"""


def line(ns: int, what: str, pid: int = 77, cpu: int = 1, comm: str = "<...>") -> str:
    return f"  {comm}-{pid}  [{cpu:03}] d..1. {ns // 10**9:5}.{ns // 1000 % 10**6:06}: {what}\n"


def guests(first: int, last: int) -> str:
    """What a guest's trace says between two moments."""
    at = [first + (last - first) * step // 10 for step in range(11)]
    return HEAD + "".join(
        (
            line(first - 2000, "sched_process_exec: filename=/tmp/my-work pid=77 old_pid=76"),
            line(first - 1000, "devmodel_register: device=0 ctx=9"),
            line(first, f"tracing_mark_write: {guest.BEGIN}", 70),
            line(at[1], "devmodel_launch: device=0 ctx=1 cookie=5 program=sum"),
            line(at[2], "devmodel_launch: device=0 ctx=1 cookie=6 program=fill"),
            line(
                at[3], "devmodel_fault: device=0 ctx=1 seq=4 va=0x2000 npages=3 access=read ret=0"
            ),
            line(at[4], "devmodel_cpu_fault: device=0 va=0x2000 served=1"),
            line(at[4], "devmodel_evict: device=0 wanted=4 evicted=4 free=0"),
            line(at[5], "devmodel_completion: device=0 cookie=5 engine=2 status=0"),
            line(
                at[6],
                "sched_switch: prev_comm=a b prev_pid=77 prev_prio=120 prev_state=D ==> "
                "next_comm=swapper/1 next_pid=0 next_prio=120",
            ),
            line(at[7], "devmodel_completion: device=0 cookie=1 engine=1 status=0"),
            line(at[8], "devmodel_completion: device=0 cookie=6 engine=2 status=0"),
            line(last, f"tracing_mark_write: {guest.END}", 70),
            line(last + 5000, "devmodel_release: device=0 ctx=9"),
        )
    )


def timed(seed: int, folder: Path) -> tuple[list[int], list[int]]:
    """A device's trace in `folder`; when its own records were written, by each clock."""
    random = Random(seed)
    world = World()
    for _ in range(400):
        world.step(random)
    (side,) = world.sides
    side.records.append(TraceRecord(kind=TraceKind.END))
    now = FIRST - 10_000_000
    by_guest, by_host = [], []
    for record in side.records:
        now += random.randint(2_000, 200_000)
        record.seq = now
        if record.kind >= TraceKind.START:
            record.seq = round(now + OFFSET + DRIFT * now)
            by_guest.append(now)
            by_host.append(record.seq)
    world.write(folder, end=False)
    return by_guest, by_host


def made(tmp_path: Path, *, pages: bool = False, last: int = FIRST + 20_000_000) -> Timeline:
    found = Timeline()
    assemble(
        found, list(ftrace.parse(guests(FIRST, last))), tmp_path, names={12: "kworker"}, pages=pages
    )
    return found


class File:
    """A Perfetto file, read back."""

    def __init__(self, data: bytes) -> None:
        self.trace = Trace()
        self.trace.ParseFromString(data)
        self.tracks: dict[int, Any] = {}
        self.events: list[Any] = []
        for packet in self.trace.packet:
            assert packet.trusted_packet_sequence_id == 1
            if packet.HasField("track_descriptor"):
                assert packet.track_descriptor.uuid not in self.tracks
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            elif packet.HasField("track_event"):
                self.events.append(packet)
        # Whatever happens, happens on a track that was described before.
        assert {packet.track_event.track_uuid for packet in self.events} <= set(self.tracks)

    def name(self, uuid: int) -> str:
        track = self.tracks[uuid]
        if track.HasField("thread"):
            return str(track.thread.thread_name)
        above = f"{self.name(track.parent_uuid)}/" if track.parent_uuid else ""
        return above + str(track.name)

    def on(self, name: str) -> list[Any]:
        (uuid,) = [uuid for uuid in self.tracks if self.name(uuid) == name]
        return [packet for packet in self.events if packet.track_event.track_uuid == uuid]


@pytest.mark.parametrize("seed", range(20))
def test_the_clocks_are_related_as_well_as_is_said(tmp_path: Path, seed: int) -> None:
    by_guest, by_host = timed(seed, tmp_path)
    lower, upper = clock.bounds(traces.load(tmp_path))
    found = clock.fit(lower, upper, by_guest[0], by_guest[-1])
    assert found is not None
    wrong = np.abs(found.guest(np.array(by_host)) - np.array(by_guest))
    assert wrong.max() <= found.error_ns + 2
    # And that is not much: what two of them that follow each other are apart.
    assert found.error_ns < 200_000


def test_no_bounds_no_clock() -> None:
    none = clock.Bounds(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    some = clock.Bounds(np.array([1]), np.array([1]))
    assert clock.fit(none, some, 0, 1) is None
    assert clock.fit(some, none, 0, 1) is None


def test_a_file_for_perfetto(tmp_path: Path) -> None:
    by_guest, _ = timed(1, tmp_path)
    last = by_guest[-1] - 10_000
    found = made(tmp_path, last=last)
    assert found.trouble == []
    file = File(found.data)
    names = {file.name(uuid) for uuid in file.tracks}
    assert {
        *("device 0/context 1", "device 0/compute engine", "device 0/compute engine, lane 2"),
        *("device 0/control engine", "device 0/copy engine", "device 0/HBM frames in use"),
        "my-work",
    } <= names
    times = [packet.timestamp for packet in file.events]
    assert times == sorted(times)
    assert times[0] >= FIRST and times[-1] <= last
    # Programs that overlap are in lanes, each from its launch to its end.
    begin, end = file.on("device 0/compute engine")
    assert (begin.track_event.name, begin.track_event.type) == ("sum", TrackEvent.TYPE_SLICE_BEGIN)
    assert end.track_event.type == TrackEvent.TYPE_SLICE_END
    assert end.timestamp - begin.timestamp == pytest.approx((last - FIRST) * 4 / 10, abs=2000)
    (begin, end) = file.on("device 0/compute engine, lane 2")
    assert begin.track_event.name == "fill"
    # What says whose it is stands with that; the rest with the thread that did it.
    (fault,) = [p for p in file.on("device 0/context 1") if p.track_event.name == "fault"]
    args = {a.name: a.string_value or a.int_value for a in fault.track_event.debug_annotations}
    assert args.items() >= {"va": "0x2000", "npages": 3, "thread": "my-work (77)"}.items()
    assert "cpu_fault" in [packet.track_event.name for packet in file.on("my-work")]
    # All three sides are heard.
    assert set(found.events) == {"device", "driver", "guest"}
    of = [category for packet in file.events for category in packet.track_event.categories]
    assert {name: of.count(name) for name in found.events} == {
        **found.events,
        # A switch of threads is no event of a track's.
        "guest": found.events["guest"] - 1,
    }


def test_threads_that_switch(tmp_path: Path) -> None:
    timed(1, tmp_path)
    file = File(made(tmp_path).data)
    (bundle,) = [p.ftrace_events for p in file.trace.packet if p.HasField("ftrace_events")]
    assert bundle.cpu == 1
    (event,) = bundle.event
    switch = event.sched_switch
    assert (switch.prev_comm, switch.prev_pid, switch.prev_state) == ("a b", 77, 2)
    assert (switch.next_comm, switch.next_pid) == ("swapper/1", 0)


def test_tracks_of_pages_on_request(tmp_path: Path) -> None:
    timed(1, tmp_path)
    for pages in (False, True):
        file = File(made(tmp_path, pages=pages).data)
        tracks = [
            n for n in map(file.name, file.tracks) if n.startswith("device 0/context 1, pages/")
        ]
        assert bool(tracks) is pages
    assert {name.rpartition("/")[2] for name in tracks} <= {hex(n * 4096) for n in range(8)}
    assert all(file.on(name) for name in tracks)


def test_frames_are_counted(tmp_path: Path) -> None:
    timed(1, tmp_path)
    counts = [
        p.track_event.counter_value
        for p in File(made(tmp_path).data).on("device 0/HBM frames in use")
    ]
    assert len(counts) > 1
    assert all(abs(one - other) <= 1 for one, other in pairwise(counts))
    assert min(counts) >= 0
    assert max(counts) <= 8


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert any("no device's trace" in line for line in made(tmp_path).trouble)
    world = World()
    world.write(tmp_path)
    found = made(tmp_path)
    assert found.trouble == [NO_CLOCK]
    world.sides[0].records.append(TraceRecord(kind=TraceKind.HOLE))
    world.write(tmp_path)
    assert any("records of the driver's are missing" in line for line in made(tmp_path).trouble)


def test_a_device_that_did_not_end_its_trace(tmp_path: Path) -> None:
    timed(1, tmp_path)
    file = tmp_path / "device0.trace"
    file.write_bytes(file.read_bytes()[:-64])
    assert made(tmp_path).trouble == ["device 0 did not end its trace"]


def database(file: File) -> sqlite3.Connection:
    """The tables of Perfetto's trace processor that the recipes ask, made of a file.

    The processor itself cannot be had; its SQL is SQLite's.
    """
    database = sqlite3.connect(":memory:")
    arguments: list[dict[str, Any]] = []
    database.create_function("EXTRACT_ARG", 2, lambda number, key: arguments[number].get(key))
    database.execute("CREATE TABLE track (id, name)")
    database.execute("CREATE TABLE slice (ts, dur, track_id, category, name, arg_set_id)")
    database.executemany(
        "INSERT INTO track VALUES (?, ?)",
        [(uuid, track.name) for uuid, track in file.tracks.items()],
    )
    open_slices: dict[int, int] = {}
    for packet in file.events:
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_END:
            begun = open_slices.pop(event.track_uuid)
            database.execute(
                "UPDATE slice SET dur = ? - ts WHERE arg_set_id = ?", (packet.timestamp, begun)
            )
        elif event.type != TrackEvent.TYPE_COUNTER:
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                open_slices[event.track_uuid] = len(arguments)
            row = (
                packet.timestamp,
                0,
                event.track_uuid,
                event.categories[0],
                event.name,
                len(arguments),
            )
            database.execute("INSERT INTO slice VALUES (?, ?, ?, ?, ?, ?)", row)
            arguments.append(
                {
                    f"debug.{a.name}": a.string_value if a.HasField("string_value") else a.int_value
                    for a in event.debug_annotations
                }
            )
    assert not open_slices
    return database


RECIPES = (paths.GUEST.parent / "docs" / "timeline.md").read_text()


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", RECIPES, re.DOTALL))
def test_queries_of_the_recipe_find_something(tmp_path: Path, query: str) -> None:
    timed(1, tmp_path)
    found = database(File(made(tmp_path).data)).execute(query).fetchall()
    assert found
    assert not any(cell is None for row in found for cell in row)


def test_lines_that_are_no_events() -> None:
    text = HEAD + "CPU:1 [LOST 12 EVENTS]\n" + line(5, "a: b=c d=e f", comm="a-b [x] -") + "junk"
    (event,) = ftrace.parse(text)
    assert (event.name, event.pid, event.fields) == ("a", 77, {"b": "c", "d": "e f"})


def test_lost_events_are_counted() -> None:
    stats = "entries: 5\noverrun: 7\ncommit overrun: 0\ndropped events: 2\noverrun: 1\n"
    assert ftrace.lost(stats) == 10


@pytest.mark.parametrize("name", ["", "../x", "a/b/c", "a b", "$(reboot)", "a;b"])
def test_names_that_are_no_tracepoints(name: str) -> None:
    with pytest.raises(ConfigError, match="is no tracepoint"):
        guest.check([name])
    guest.check(["migrate", "sched/sched_switch"])
