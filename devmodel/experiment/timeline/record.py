"""Run a command in a guest, and make a Perfetto file of what came of it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devmodel.errors import ConfigError
from devmodel.experiment.oracle import trace as traces
from devmodel.experiment.timeline import clock, ftrace, guest
from devmodel.experiment.timeline.assemble import Assembly
from devmodel.experiment.timeline.clock import Clock
from devmodel.experiment.timeline.ftrace import Event
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

NO_CLOCK = "the device's clock could not be related to the guest's: what the device did is left out"


@dataclass
class Timeline:
    """What was recorded. `trouble` has a line for each thing that is not as it should be."""

    exit_code: int = 0
    seconds: float = 0.0
    """that the command took, by the guest's clock"""
    clock: Clock | None = None
    events: dict[str, int] = field(default_factory=dict)
    """how many, by who says so"""
    tracks: int = 0
    trouble: list[str] = field(default_factory=list)
    data: bytes = b""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the data."""
        told = self.clock
        related = None
        if told is not None:
            related = {
                "error_ns": told.error_ns,
                "drift_ppm": round(told.drift * 1e6, 3),
                "bounds": told.bounds,
            }
        return {
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "clock": related,
            "events": self.events,
            "tracks": self.tracks,
            "trouble": self.trouble,
        }


def record(
    config: MachineConfig,
    command: Sequence[str],
    *,
    events: Sequence[str] = (),
    pages: bool = False,
    options: Options,
    timeout: float,
    stdin: bytes | int,
    stdout: io.BufferedIOBase,
    stderr: io.BufferedIOBase,
    reporter: Reporter,
) -> Timeline:
    """Boot a guest, run the command in it, and put everything that was said on one clock.

    `events` are tracepoints beside devmodel's own. ConfigError if one is not there; what Machine
    raises if the guest does not survive.
    """
    guest.check(events)
    if not config.devices:
        raise ConfigError("this machine has no device to trace", hint="add one to CONFIG")
    found = Timeline()
    with tempfile.TemporaryDirectory(prefix="devmodel-trace-") as name:
        folder = Path(name)
        with Machine(config, reporter=reporter, options=replace(options, trace=folder)) as vm:
            guest.prepare(vm, (*guest.EVENTS, *events))
            guest.talk(vm)
            guest.mark(vm, guest.BEGIN)
            done = vm.run(command, stdin=stdin, timeout=timeout, stdout=stdout, stderr=stderr)
            guest.mark(vm, guest.END)
            guest.talk(vm)
            text, stats = guest.fetch(vm)
            names = guest.threads(vm)
        found.exit_code = done.exit_code
        if lost := ftrace.lost(stats):
            found.trouble.append(f"{lost} events of the guest's were lost; trace something shorter")
        with reporter.step("writing the timeline", 1):
            assemble(found, list(ftrace.parse(text)), folder, names=names, pages=pages)
    return found


def assemble(
    found: Timeline,
    events: Sequence[Event],
    folder: Path,
    *,
    names: Mapping[int, str],
    pages: bool,
) -> None:
    """Fill in what comes of the guest's events and of the traces in a folder.

    `names` are those of threads that were there all the time.
    """
    first, last = ends(events)
    found.seconds = (last - first) / 1e9
    assembly = Assembly(first, last, names)
    assembly.events(events)
    try:
        devices = traces.load(folder)
    except ConfigError as error:
        found.trouble.append(f"no device's trace: {error.message}")
        devices = []
    if devices:
        found.clock = clock.fit(*clock.bounds(devices), first, last)
        if found.clock is None:
            found.trouble.append(NO_CLOCK)
    for device in devices:
        assembly.device(device, found.clock, pages=pages)
        if not device.complete:
            found.trouble.append(f"device {device.number} did not end its trace")
    found.events = dict(sorted(assembly.tracks.counts.items()))
    found.tracks = len(assembly.tracks.ids)
    found.data = assembly.tracks.serialized()


def ends(events: Sequence[Event]) -> tuple[int, int]:
    """When the command began and ended, ns of the guest; all there is if that was lost."""
    marks = {event.text: event.ns for event in events if event.name == ftrace.MARK}
    times = [event.ns for event in events] or [0]
    return marks.get(guest.BEGIN, min(times)), marks.get(guest.END, max(times))
