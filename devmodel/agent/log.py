"""The agent's log: what it says itself, and what users' programs print. Bounded.

Standard output and error are the log, a file that the supervisor opened for appending. A write to
a file waits for nobody, so no amount of output holds up the device, and a file that is appended to
can be cut while it is written: what is too much loses its older part. Python's streams see to that
with each write; `trim`, between bursts, sees to what goes to the descriptors another way.
"""

import contextlib
import io
import logging
import os
import stat
import sys

from devmodel.agent.config import AgentConfig

LIMIT = 1 << 20
"""Bytes; of more, the last half of it is kept."""


class Log:
    """The file behind standard error, if it is one; anything else is only written to."""

    def __init__(self) -> None:
        # A program may close the standard ones.
        self._fd = os.dup(sys.stderr.fileno())
        self._bounded = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def take_over(self, config: AgentConfig) -> None:
        """Have Python's streams and `logging` write here, a stream each: one may be closed."""
        sys.stdout, sys.stderr = self._stream(), self._stream()
        logging.raiseExceptions = False
        logging.basicConfig(
            stream=self._stream(),
            level=logging.INFO,
            format=f"%(asctime)s {config.name} %(levelname)s %(name)s: %(message)s",
        )

    def _stream(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(_Writer(self), "utf-8", "backslashreplace", write_through=True)

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._fd

    def write(self, data: memoryview) -> None:
        """Append, as well as that goes: a full disk is no reason to stop."""
        with contextlib.suppress(OSError):
            os.write(self._fd, data[-LIMIT:])
        self.trim()

    def trim(self) -> None:
        """Drop the older part if the file has become too long."""
        if not self._bounded:
            return
        with contextlib.suppress(OSError):
            size = os.fstat(self._fd).st_size
            if size <= LIMIT:
                return
            kept = os.pread(self._fd, LIMIT // 2, size - LIMIT // 2)
            os.ftruncate(self._fd, 0)
            note = f"({size - len(kept)} bytes before this were dropped: the log was too long)\n"
            os.write(self._fd, note.encode() + kept)


class _Writer(io.RawIOBase):
    """What a stream writes to. Closing it closes no one else's."""

    name = "the agent's log"

    def __init__(self, log: Log) -> None:
        self._log = log

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._log.fileno()

    def write(self, data: "memoryview | bytes | bytearray") -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        self._log.write(view)
        return len(view)
