# SPDX-License-Identifier: MIT
"""An open device, and what can be asked of it."""

from __future__ import annotations

import errno
import fcntl
import os
from array import array
from struct import calcsize
from typing import Any, TypeVar

from libdevmodel.abi import (
    PLACE_SHIFT,
    Access,
    Advise,
    Info,
    Launch,
    Migrate,
    Place,
    Policy,
    Snapshot,
    Stats,
    Status,
    Target,
    Wait,
)
from libdevmodel.memory import PAGE, word
from libdevmodel.record import Record

DEFAULT_PATH = "/dev/devmodel0"
# How long `run` waits. Nothing waits for ever.
RUN_MS = 60_000
# How a wait fails where the program never began.
_NEVER_BEGAN = {errno.ENOENT: Status.NO_PROGRAM, errno.EINVAL: Status.BAD_ARGUMENT}

Asked = TypeVar("Asked", bound=Record)


class ProgramFailed(RuntimeError):
    """A device program did not end well; `end` says how."""

    def __init__(self, program: str, end: Wait) -> None:
        said = f"{program}: ended with {Status(end.status).name}"
        if end.status == Status.FAULT:
            said += f" at {end.fault_address:#x} ({Access(end.fault_access).name.lower()})"
        super().__init__(said)
        self.end = end


class Device:
    """A mirror of the process that opened it; a child of fork() opens its own.

    OSError from every method if the driver refuses, with its errno.
    """

    def __init__(self, path: str | None = None) -> None:
        """Open `path`, or $DEVMODEL_DEVICE, or /dev/devmodel0."""
        path = path or os.environ.get("DEVMODEL_DEVICE") or DEFAULT_PATH
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            hint = "no such device; is the driver loaded (modprobe devmodel)?"
            raise FileNotFoundError(errno.ENOENT, hint, path) from None

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give it up; what is still running is stopped."""
        os.close(self._file)

    def info(self) -> Info:
        """What this device is."""
        return self._ask(Info())

    def stats(self) -> Stats:
        """All that is counted, and how things stand."""
        return self._ask(Stats())

    def launch(self, program: str, *args: Any) -> int:
        """Start a device program; a handle for `wait`. BlockingIOError: too many are running.

        An argument is an integer, a Memory, an array.array or a numpy array: its address.
        """
        name = program.encode()
        if len(name) >= calcsize(Launch.LAYOUT["program"]):
            raise ValueError(f"no device program has a name as long as {program!r}")
        words = tuple(map(word, args))
        room = len(Launch().args)
        if len(words) > room:
            raise ValueError(f"{program}: {len(words)} arguments are too many, {room} is the limit")
        filled = words + (0,) * (room - len(words))
        return self._ask(Launch(name, filled, len(words))).handle

    def wait(self, handle: int, timeout_ms: int = RUN_MS) -> Wait:
        """How a launch ended; TimeoutError if it has not by then, and the handle stays good."""
        end = Wait(handle=handle, timeout_ms=timeout_ms, status=Status.PENDING)
        try:
            return self._ask(end)
        except OSError as error:
            if error.errno == errno.ETIME:
                raise TimeoutError(errno.ETIME, f"still running after {timeout_ms} ms") from None
            if error.errno not in _NEVER_BEGAN:
                raise
            end.status = _NEVER_BEGAN[error.errno]
            return end

    def run(self, program: str, *args: Any) -> tuple[int, ...]:
        """Launch and wait; what the program returned, two words. ProgramFailed if it did not."""
        end = self.wait(self.launch(program, *args))
        if end.status != Status.OK:
            raise ProgramFailed(program, end)
        return end.result

    def migrate(
        self, where: Any, length: int, target: Target, outcomes: array[int] | None = None
    ) -> Migrate:
        """Move the pages of a range. Some may stay: see the counts.

        `outcomes`, an array of type code "I", gets a PageOutcome for each page.
        """
        told = 0 if outcomes is None else _room(outcomes, length)
        return self._ask(Migrate(word(where), length, target, outcomes=told))

    def advise(self, where: Any, length: int, policy: Policy) -> None:
        """What a device's touch does from now on, for whole pages."""
        self._ask(Advise(word(where), length, policy))

    def snapshot(self, where: Any, length: int) -> tuple[array[int], array[int]]:
        """A range as the kernel's page table and the device's see it: a PageState for each page."""
        cpu, device = (array("I", (0,)) * (length // PAGE) for _ in range(2))
        self._ask(Snapshot(word(where), length, word(cpu), word(device)))
        return cpu, device

    def _ask(self, record: Asked) -> Asked:
        data = record.pack()
        while True:
            try:
                fcntl.ioctl(self._file, record.REQUEST, data)
            except InterruptedError:
                continue  # of a wait, the driver has noted what is left
            record.read(data)
            return record


def place(state: int) -> Place:
    """Where a page is, from a word of a snapshot."""
    return Place(state >> PLACE_SHIFT & 0xF)


def _room(outcomes: array[int], length: int) -> int:
    if outcomes.typecode != "I" or len(outcomes) * PAGE < length:
        raise ValueError(f"outcomes must be an array('I') of {length // PAGE} or more")
    return word(outcomes)
