"""`devmodel top`: what the devices of running guests do, live."""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from devmodel.cli import detached, options, output
from devmodel.errors import ConfigError, DevmodelError, ExitCode, HostNotReady
from devmodel.machine import rundir
from devmodel.machine.rates import Rates, Tick
from devmodel.machine.rundir import VmInfo
from devmodel.machine.view import Sample, View

LEAST_SECONDS = 0.1
MOST_SECONDS = 3600.0
# Between two guests of one `devmodel compare`.
PATIENCE_SECONDS = 5.0
HEADING_EVERY = 20
# A terminal of 80 columns has room for all of it.
HEADINGS = {
    "VM": 12,
    "DEVICE": 10,
    "HBM": 9,
    "FAULT/s": 7,
    "IN/s": 5,
    "OUT/s": 5,
    "TLB/s": 5,
    "HIT": 4,
    "INV/s": 5,
    "RINGS": 9,
}

EPILOG = """\
columns:
  HBM         in use, of all there is; - where it is a NUMA node, of which the kernel alone knows
  IN/s, OUT/s bytes over the link, into the device (copies and remote loads) and out of it
  TLB/s, HIT  page translations that the TLB answered, and of all the part that these are
  INV/s       invalidates
  RINGS       messages that wait: control, copy, compute, completion, fault
  ctx N       a process's context: what its programs did, without copies

examples:
  $ devmodel top                          every guest that runs, those of a compare, too
  $ devmodel top hmm-private --interval 0.5
  $ devmodel top --json --count 10 | jq -r '[.vm, .faults_per_second] | @tsv'

What is shown is read in this machine's memory: the guest is not asked, and may lie.

Ends with the guest it was called for, or when none runs any more. Exit code 0 only if all is well;
that of a guest's end if that was none, 253 if a device is lost.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `top`."""
    parser = commands.add_parser(
        "top",
        help="watch what the devices of running guests do",
        description="Show HBM in use, faults, bytes each way, TLB hits, invalidates and waiting "
        "messages of each device and context, again and again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="as `devmodel ps` shows it (default: all)"
    )
    parser.add_argument(
        "--interval", metavar="S", type=_seconds, default=1.0, help="seconds (default: 1)"
    )
    parser.add_argument(
        "--count", metavar="N", type=options.positive, help="end after so many times"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, for each device each time"
    )
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LEAST_SECONDS <= value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; use {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds"
        )
    return value


def run(arguments: argparse.Namespace) -> int:
    """0 if all is well to the end."""
    watch = Watch(arguments.name, output.stderr())
    ticks = islice(watch.ticks(arguments.interval), arguments.count)
    console = Console(highlight=False)
    try:
        if arguments.json:
            _print_json(ticks)
        elif console.is_terminal:
            _draw(ticks, console)
        else:
            _print_lines(ticks)
    finally:
        watch.close()
    return watch.exit_code()


@dataclass
class _Watched:
    """A guest that runs."""

    folder: Path
    info: VmInfo
    views: list[View]
    last: list[Sample]


class Watch:
    """The guests that are looked at: the one called `name`, or all. ConfigError if there is none.

    What ends, or cannot be looked at, is told on `console`.
    """

    def __init__(self, name: str | None, console: Console) -> None:
        self._name = name
        self._console = console
        self._watched: dict[tuple[str, int, float], _Watched] = {}
        self._code = 0
        self._lost: list[str] = []
        there = self._look()
        if not there:
            # With a word on what does run.
            rundir.running(name)

    def _look(self) -> bool:
        """See who came and who went; whether one is there, or about to be."""
        now = {}
        starting = False
        for folder, info in rundir.everything():
            if self._name is not None and info.name != self._name:
                continue
            starting |= info.state == "starting"
            if info.state == "running":
                now[info.name, info.pid, info.started] = folder, info
        for key in [key for key in self._watched if key not in now]:
            self._ended(self._watched.pop(key))
        for key, (folder, info) in now.items():
            if key not in self._watched:
                self._watched[key] = self._open(folder, info)
        return starting or bool(now)

    def _open(self, folder: Path, info: VmInfo) -> _Watched:
        views: list[View] = []
        try:
            config = detached.config_of(info)
            if len(info.regions) != len(config.devices):
                raise ValueError
            for number, device in enumerate(config.devices):
                views.append(View(info, number, device))
        except ValueError:
            self._blind(
                ConfigError(
                    f"{info.name} was started by another devmodel",
                    hint="start it again with this one",
                )
            )
        except HostNotReady as error:
            now = rundir.read_info(folder)
            # One that has ended meanwhile is seen to have the next time.
            if now is not None and now.state == "running" and now.pid == info.pid:
                self._blind(error)
        return _Watched(folder, info, views, [view.sample() for view in views])

    def _blind(self, error: DevmodelError) -> None:
        """One cannot be looked at: alone that is all there is to say, among others a line."""
        if self._name is not None:
            raise error
        self._console.print(str(error), markup=False, soft_wrap=True)
        self._code = self._code or int(error.exit_code)

    def _ended(self, gone: _Watched) -> None:
        for view in gone.views:
            view.close()
        info = detached.settled(gone.folder)
        same = (info.pid, info.started) == (gone.info.pid, gone.info.started)
        how = _printable(info.ending) if same else ""
        self._console.print(
            f"{gone.info.name} ended{f': {how}' if how else ''}", markup=False, soft_wrap=True
        )
        if same and info.exit_code:
            self._code = self._code or info.exit_code

    def ticks(self, interval: float) -> Iterator[list[Tick]]:
        """The devices, every `interval` seconds, as long as there is a guest, or one to come."""
        due = time.monotonic()
        seen = due
        while True:
            due = max(due + interval, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0))
            there = self._look()
            found = []
            for watched in self._watched.values():
                samples = [view.sample() for view in watched.views]
                found += [
                    Tick.between(view, old, new)
                    for view, old, new in zip(watched.views, watched.last, samples, strict=True)
                    if new.seconds - old.seconds >= LEAST_SECONDS / 2
                ]
                watched.last = samples
            self._lost = [
                f"{tick.view.vm}: device {tick.view.number} is {tick.state}"
                for tick in found
                if not tick.well
            ]
            if there:
                seen = time.monotonic()
            elif self._name is not None or time.monotonic() - seen > PATIENCE_SECONDS:
                return
            if found:
                yield found

    def close(self) -> None:
        """Let go of all."""
        for watched in self._watched.values():
            for view in watched.views:
                view.close()

    def exit_code(self) -> int:
        """Once it is over."""
        for line in self._lost:
            self._console.print(line, markup=False, soft_wrap=True)
        return self._code or (int(ExitCode.DEVICE_LOST) if self._lost else 0)


Ticks = Iterator[list[Tick]]


def _print_json(ticks: Ticks) -> None:
    for devices in ticks:
        for tick in devices:
            print(json.dumps(tick.as_dict()))
        sys.stdout.flush()


def _print_lines(ticks: Ticks) -> None:
    shown = 0
    for devices in ticks:
        for line in _lines(devices):
            if shown % HEADING_EVERY == 0:
                print(_in_columns(list(HEADINGS)))
            print(_in_columns(line))
            shown += 1
        sys.stdout.flush()


def _in_columns(cells: Sequence[str]) -> str:
    shown = (cell.ljust(width) for cell, width in zip(cells, HEADINGS.values(), strict=True))
    return " ".join(shown).rstrip()


def _draw(ticks: Ticks, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for devices in ticks:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
            for heading in HEADINGS:
                table.add_column(heading, no_wrap=True)
            for line in _lines(devices):
                table.add_row(*map(Text, line))
            live.update(table, refresh=True)


def _lines(devices: Sequence[Tick]) -> Iterator[tuple[str, ...]]:
    """A line for each device, and one for each of its contexts."""
    for tick in devices:
        hbm, size = tick.hbm_in_use, tick.view.config.hbm_size
        rings = ("?" if depth is None else str(depth) for depth in tick.sample.rings.values())
        yield (
            tick.view.vm,
            f"{tick.view.number} {tick.view.config.model.value if tick.well else tick.state}",
            f"{'-' if hbm is None else short(hbm)}/{short(size)}" if size else "none",
            *_rates(tick.rates),
            " ".join(rings),
        )
        for ctx, rates in tick.contexts.items():
            yield ("", f"ctx {short(ctx)}", "", *_rates(rates), "")


def _rates(rates: Rates) -> tuple[str, ...]:
    return (
        short(rates.faults, 1000),
        short(rates.bytes_to_device),
        short(rates.bytes_to_system),
        short(rates.tlb_hits, 1000),
        "-" if rates.tlb_hit_rate is None else f"{rates.tlb_hit_rate:.0%}",
        short(rates.invalidates, 1000),
    )


def short(value: float, base: int = 1024) -> str:
    """A number in six characters at most, whatever it is: `0`, `950`, `1.5M`."""
    units = iter(("", "K", "M", "G", "T", "P", "E", "Z", "Y", "R"))
    unit = next(units)
    while value >= 999.5:
        value, unit = value / base, next(units)
    return f"{value:.0f}{unit}" if not unit or value >= 9.95 else f"{value:.1f}{unit}"


def _printable(text: str) -> str:
    """What a guest may have said, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
