"""Placement probes: every way in which memory can come to lie on the device's NUMA node.

`dm-probe` does them in a booted guest and prints a line of JSON for each; here they are checked
and shown.
"""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_type_hints

from rich.console import Console
from rich.table import Table

from devmodel.build import modules
from devmodel.errors import ConfigError, GuestError
from devmodel.experiment import tables
from devmodel.machine.config import MachineConfig
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

PROGRAM = "dm-probe"
SECONDS = 300.0
PIPE_COLUMNS = 120
PUBLIC = ("name", "asked", "arrived", "allowed", "ok")


class ProbesFailed(GuestError):
    """dm-probe ended without telling about all probes."""


@dataclass(frozen=True)
class Finding:
    """What one probe found. Counts are pages of the guest."""

    name: str
    asked: str
    """"node" if it asked for pages of the node, else "nothing" """
    arrived: int
    """on the node"""
    allowed: bool
    """whether pages may arrive there under this model"""
    ok: bool
    """all is as the model has it: pages arrived, or none did"""
    of: int
    """pages that could have arrived"""
    seconds: float
    about: str
    why: str
    """why it could not be done, if it could not"""

    @classmethod
    def parse(cls, line: str) -> Self:
        """From a line of dm-probe. ValueError if it is none."""
        data = jsonlib.loads(line)
        hints = get_type_hints(cls)
        names = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError(f"not a finding: {line[:80]!r}")
        for name, value in data.items():
            if type(value) is not hints[name]:
                raise ValueError(f"{name} is {value!r}, not a {hints[name].__name__}")
        return cls(**data)

    def as_dict(self) -> dict[str, Any]:
        """What machines are promised."""
        return {name: value for name, value in asdict(self).items() if name in PUBLIC}


class Lines(io.BufferedIOBase):
    """dm-probe's output: a `Finding` for each line as it comes; `tell` gets each."""

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        super().__init__()
        self._tell = tell
        self._rest = b""
        self.findings: list[Finding] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream; lines may be cut anywhere. Lines of others are passed over."""
        piece = bytes(data)  # type: ignore[call-overload]
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                self.findings.append(Finding.parse(line.decode(errors="replace")))
                self._tell(self.findings[-1])
        return len(piece)


def names(reporter: Reporter) -> list[str]:
    """The probes there are. The guest's programs are static: this machine can run them, too."""
    program = next(path for path in modules.programs(reporter) if path.name == PROGRAM)
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def check_names(wanted: Sequence[str], known: Sequence[str]) -> None:
    """ConfigError if a probe does not exist."""
    for name in wanted:
        if name not in known:
            raise ConfigError(f"there is no probe {name!r}", hint=f"there are {', '.join(known)}")


def probe(vm: Machine, wanted: Sequence[str], note: Callable[[str], None]) -> list[Finding]:
    """Do the `wanted` probes, or all, in a VM that is up. ProbesFailed if it told too little.

    `note` gets a line for each probe as it ends, and then what dm-probe said besides.
    """
    lines = Lines(lambda found: note(_line(found)))
    done = vm.run([PROGRAM, *wanted], timeout=SECONDS, stdout=lines)
    for line in done.stderr.splitlines():
        note(line)
    # 1: a probe is not ok, which its finding says, or nothing could be done at all.
    if done.exit_code > 1 or len(lines.findings) < max(1, len(wanted)):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ProbesFailed(
            f"{PROGRAM} ended with {done.exit_code} after {len(lines.findings)} probes: {said}",
            hint=f"see {vm.folder}",
            details=done.stderr,
        )
    return lines.findings


def table(model: str, findings: Sequence[Finding]) -> Table:
    """One line for each probe."""
    shown = tables.table(f"placement probes, model {model}: pages on the device's node")
    shown.add_column("probe", no_wrap=True)
    shown.add_column("asked", no_wrap=True)
    shown.add_column("arrived", justify="right", no_wrap=True)
    shown.add_column("of", justify="right", no_wrap=True)
    shown.add_column("allowed", no_wrap=True)
    shown.add_column("ok", no_wrap=True)
    # Where it gets narrow, this one gives way: a number that is cut off is a wrong number.
    shown.add_column("what it is")
    for finding in findings:
        shown.add_row(
            finding.name,
            finding.asked,
            f"{finding.arrived}",
            f"{finding.of}",
            "yes" if finding.allowed else "no",
            "[green]yes[/]" if finding.ok else "[bold red]NO[/]",
            finding.why or finding.about,
        )
    return shown


def run(config: MachineConfig, wanted: Sequence[str], *, json: bool, console: Console) -> int:
    """`devmodel probe`: progress goes to `console`, the outcome to stdout.

    0 if every probe is ok. ConfigError for a name that is no probe's.
    """
    reporter = Reporter(console)
    check_names(wanted, names(reporter))
    model = config.devices[0].model
    with Machine(config, reporter=reporter) as vm:
        findings = probe(vm, wanted, reporter.note)
    if json:
        jsonlib.dump({"probes": [found.as_dict() for found in findings]}, sys.stdout, indent=1)
        print()
    else:
        # A pipe is no reason to shorten anything.
        wide = None if sys.stdout.isatty() else PIPE_COLUMNS
        Console(highlight=False, width=wide).print(table(model, findings))
    return 0 if all(found.ok for found in findings) else 1


def _line(found: Finding) -> str:
    ending = "ok" if found.ok else f"NOT ok {found.why}".rstrip()
    return (
        f"{found.name}: {found.arrived} of {found.of} pages on the node, {ending},"
        f" {found.seconds:.1f} s"
    )
