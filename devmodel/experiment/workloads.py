"""The workloads: what they are called, what they do, and how one is run in a guest."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devmodel.errors import ConfigError, GuestError
from devmodel.experiment.results import BadResult, Result

if TYPE_CHECKING:
    from pathlib import Path

    from devmodel.machine.machine import Machine

TEXT_BYTES = 2 << 20
GUEST_TEXT = "/tmp/corpus.txt"
SECONDS = 240.0


class JobFailed(GuestError):
    """A workload ended without a result, or with one that it does not stand for."""


@dataclass(frozen=True)
class Workload:
    """A program of the guest that prints a result."""

    name: str
    what: str
    command: tuple[str, ...]
    text: bool = False
    """it reads GUEST_TEXT"""


def _pattern(name: str, what: str) -> Workload:
    return Workload(name, what, ("patterns", name))


WORD_INDEX = Workload(
    "wordindex",
    "a word index built with malloc; both look things up, change it and walk it",
    ("wordindex", "--bytes", str(TEXT_BYTES), GUEST_TEXT),
    text=True,
)

WORKLOADS = {
    workload.name: workload
    for workload in (
        WORD_INDEX,
        _pattern("first-touch-cpu", "the CPU fills memory, the device reads it twice"),
        _pattern("first-touch-device", "the device fills memory and reads it, then the CPU does"),
        _pattern("ping-pong", "CPU and device write the same memory in turn"),
        _pattern("read-mostly", "both read a table over and over; the CPU changes a page at times"),
        _pattern("stream", "the device sweeps over long arrays, again and again"),
        _pattern("stencil", "the device computes on a grid, the CPU feeds a border, reads a row"),
        _pattern("bfs", "the device searches a sparse graph, the CPU changes it in between"),
        _pattern("kv", "a key-value store that both use; most requests are for few keys"),
        _pattern("oversubscribe", "the device works on an eighth more memory than HBM can hold"),
        _pattern("hog", "stream, beside an unrelated process that takes all memory there is"),
    )
}


def pick(names: Iterable[str]) -> list[Workload]:
    """The workloads of these names, all of them for none. ConfigError for a name that is none."""
    picked = []
    for name in dict.fromkeys(names):
        if name not in WORKLOADS:
            close = difflib.get_close_matches(name, WORKLOADS, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(WORKLOADS)}"
            raise ConfigError(f"no workload {name!r}", hint=hint)
        picked.append(WORKLOADS[name])
    return picked or list(WORKLOADS.values())


class Lines(io.BufferedIOBase):
    """A guest program's output: `tell` gets each line as it ends, all of it is kept as `text`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._line = b""
        self.text = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """A piece of the stream; lines may be cut anywhere."""
        piece = bytes(data)  # type: ignore[call-overload]
        *lines, self._line = (self._line + piece).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace")
            self.text += words + "\n"
            self._tell(words)
        return len(piece)


def _nobody(_: str) -> None:
    pass


def put(vm: Machine, text: Path) -> None:
    """Bring a text to where workloads read it. JobFailed if the guest does not take it."""
    try:
        vm.put(text, GUEST_TEXT)
    except OSError as error:
        raise JobFailed(f"the text could not be copied into the guest: {error}") from error


def run(vm: Machine, workload: Workload, *, tell: Callable[[str], None] = _nobody) -> Result:
    """Run a workload in a VM that is up; `tell` gets its lines on stderr.

    JobFailed if it ends without a result.
    """
    lines = Lines(tell)
    done = vm.run(list(workload.command), timeout=SECONDS, stderr=lines)
    try:
        result = Result.parse(done.stdout)
    except BadResult as error:
        last = (lines.text.strip().splitlines() or ["it said nothing"])[-1]
        raise JobFailed(
            f"{workload.name} ended with {done.exit_code} and without a result: {last}",
            hint=f"see {vm.folder}",
            details=f"{error}\n{lines.text}",
        ) from error
    if done.exit_code and result.checked:
        raise JobFailed(f"{workload.name} ended with {done.exit_code}", details=lines.text)
    return result
