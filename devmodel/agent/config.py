"""What a supervisor tells an agent: which device to play, and what it is attached to."""

import json
from pathlib import Path
from typing import Self

from devmodel.description import Strict
from devmodel.device.config import DeviceConfig
from devmodel.link import AnyWires

READY = "ready"
REFUSED = "refused: "
"""The agent's one line of report: the device is there; or the user's mistake."""
LONGEST_REPORT = 4096
"""Bytes: a pipe takes and gives so many at once."""


class AgentConfig(Strict):
    """Everything an agent process needs. Travels as JSON; `*_fd` are inherited descriptors."""

    parent: int
    device: DeviceConfig
    number: int
    generation: int
    wires: AnyWires
    report_fd: int
    """a pipe for the agent's one line, READY or REFUSED and why"""
    trace: Path | None = None
    """the file that the trace goes to"""

    def to_json(self) -> str:
        """For the command line; `from_json` reads it."""
        # Not pydantic's own, which refuses a path that is no UTF-8.
        return json.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse of `to_json`. ValueError if it is something else."""
        return cls.model_validate(json.loads(text))

    @property
    def name(self) -> str:
        """For the log and messages."""
        return f"dm{self.number}"

    @property
    def descriptors(self) -> set[int]:
        """All of them, to be passed on to the process."""
        return self.wires.descriptors | {self.report_fd}
