"""`devmodel trace` on a booted guest."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from devmodel.cli.main import main

# Device and guest are two processes of one machine, which may be busy.
WORST_CLOCK_NS = 50_000_000


@pytest.fixture(autouse=True)
def nothing_to_read(monkeypatch: pytest.MonkeyPatch, no_vm: object) -> None:
    """The command has no input, and no other VM runs."""
    assert no_vm
    monkeypatch.setattr(sys, "stdin", None)


def test_a_command_on_one_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.pftrace"
    command = ["sh", "-c", "dm-pingpong >/dev/null; exit 7"]
    code = main(["trace", "private", "--json", "--pages", "-o", str(file), "--", *command])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["exit_code"], said["trouble"]) == (7, 7, [])
    assert 0 <= said["clock"]["error_ns"] < WORST_CLOCK_NS
    trace = Trace()
    trace.ParseFromString(file.read_bytes())
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor
        for packet in trace.packet
        if packet.HasField("track_descriptor")
    }
    names = {track.name for track in tracks.values()}
    assert {"device 0", "copy engine", "control engine", "compute engine"} <= names
    assert any(name.startswith("context ") for name in names)
    assert any(name.startswith("0x") for name in names)
    assert "dm-pingpong" in {track.thread.thread_name for track in tracks.values()}
    events = [packet.track_event for packet in trace.packet if packet.HasField("track_event")]
    counts = Counter(category for event in events for category in event.categories)
    assert dict(counts) == said["events"]
    assert set(counts) == {"guest", "driver", "device"}
    seen = {event.name for event in events}
    assert {"launch", "completion", "map", "copy", "INVALIDATE", "migrate"} <= seen


def test_a_tracepoint_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.pftrace"
    command = ["trace", "private", "--events", "no_such", "-o", str(file), "--", "true"]
    assert main(command) == 2
    assert "this guest's kernel has no no_such" in capsys.readouterr().err
    assert not file.exists()
