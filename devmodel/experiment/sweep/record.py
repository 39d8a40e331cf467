"""What came of a cell."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from devmodel.errors import (
    CommandTimeout,
    DeviceLost,
    DevmodelError,
    GuestError,
    GuestHang,
    GuestOops,
    GuestPanic,
    MachineLost,
)
from devmodel.experiment.job import JobFailed, Ran
from devmodel.experiment.results import Result


class Outcome(StrEnum):
    """How a cell ended. Those after OOPS say nothing of what was to be run: it is tried again."""

    RIGHT = "right"
    WRONG = "wrong"
    TIMEOUT = "timeout"
    HANG = "hang"
    PANIC = "panic"
    OOPS = "oops"
    DEVICE_LOST = "device lost"
    MACHINE_LOST = "machine lost"
    NOT_STARTED = "not started"

    @property
    def final(self) -> bool:
        """Whether it is a result, to be kept."""
        return list(Outcome).index(self) <= list(Outcome).index(Outcome.OOPS)


_OF_ERRORS: tuple[tuple[type[GuestError], Outcome], ...] = (
    (CommandTimeout, Outcome.TIMEOUT),
    (GuestHang, Outcome.HANG),
    (GuestPanic, Outcome.PANIC),
    (GuestOops, Outcome.OOPS),
    (DeviceLost, Outcome.DEVICE_LOST),
    (MachineLost, Outcome.MACHINE_LOST),
    (GuestError, Outcome.WRONG),
)


@dataclass(frozen=True)
class Where:
    """What a cell ran on."""

    devmodel: str = ""
    kernel_release: str = ""
    qemu: str = ""
    accelerator: str = ""
    host: str = ""


@dataclass(frozen=True)
class Record:
    """One cell's row, but for its place in the grid. Plain values: it is kept as JSON."""

    outcome: Outcome
    code: int
    """what it is worth as an exit code"""
    why: str = ""
    """it is not right, in one line"""
    exit_code: int | None = None
    """the program's; None if it did not end by itself"""
    output: str = ""
    """a digest of what it printed; empty if that is not known"""
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    """`Result.as_dict`"""
    where: Where = Where()
    began: float = 0.0
    """seconds since the epoch"""
    seconds: float = 0.0
    """that it took, with all there is to do around the program"""

    @classmethod
    def of(cls, ran: Ran) -> Self:
        """A run that ended."""
        right = not ran.why
        return cls(
            Outcome.RIGHT if right else Outcome.WRONG,
            0 if right else 1,
            _line(ran.why),
            ran.exit_code,
            "" if ran.output is None else ran.output.digest.hex(),
            ran.result.as_dict(),
        )

    @classmethod
    def failed(cls, error: GuestError, result: Result) -> Self:
        """One that did not, or that its guest did not survive; `result` is what is known of it."""
        late = isinstance(error, JobFailed) and isinstance(error.__cause__, CommandTimeout)
        kind = CommandTimeout if late else type(error)
        outcome = next(outcome for of, outcome in _OF_ERRORS if issubclass(kind, of))
        code = 1 if outcome is Outcome.WRONG else int(kind.exit_code)
        return cls(outcome, code, _line(str(error)), result=result.as_dict())

    @classmethod
    def not_started(cls, error: DevmodelError) -> Self:
        """One that no guest could be had for."""
        return cls(Outcome.NOT_STARTED, int(error.exit_code), _line(str(error)))

    def wrong(self, why: str) -> Record:
        """The same, not right."""
        result = {**self.result, "checked": False}
        return dataclasses.replace(self, outcome=Outcome.WRONG, code=1, why=why, result=result)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The reverse. KeyError, TypeError, ValueError for something else."""
        return cls(**{**data, "outcome": Outcome(data["outcome"]), "where": Where(**data["where"])})


def _line(text: str) -> str:
    return " ".join(text.split())
