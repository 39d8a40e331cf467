"""A command's three streams over one SSH channel, at the same time."""

import contextlib
import io
import os
import select
import time

import paramiko

POLL_SECONDS = 0.2
# How soon to look again whether the guest takes more: paramiko tells nobody.
WINDOW_SECONDS = 0.005
LINGER_SECONDS = 0.5
CHUNK = 65536


class ShellTimeout(Exception):
    """The command did not end in time."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where
        """Name, state and kernel stack of each of its threads, as the guest told them."""


class Input:
    """What a command reads: bytes that are there, or a descriptor from which they come."""

    def __init__(self, source: bytes | int) -> None:
        self._data = source if isinstance(source, bytes) else b""
        self._at = 0
        self.fd = source if isinstance(source, int) else None
        """None once there is no more to come"""

    def pending(self) -> bytes:
        """The next piece to send; empty if there is none now."""
        if self._at >= len(self._data) and self.fd is not None and _readable(self.fd):
            self._data, self._at = os.read(self.fd, CHUNK), 0
            if not self._data:
                self.fd = None
        return self._data[self._at : self._at + CHUNK]

    def sent(self, count: int) -> None:
        """`count` bytes of what was pending are on their way."""
        self._at += count

    def drop(self) -> None:
        """Nobody reads it any more."""
        self._data, self.fd = b"", None

    @property
    def ended(self) -> bool:
        """Whether all was sent, and no more will come."""
        return self.fd is None and self._at >= len(self._data)


def exchange(
    channel: paramiko.Channel,
    source: Input,
    stdout: io.BufferedIOBase,
    stderr: io.BufferedIOBase,
    deadline: float,
) -> None:
    """Feed stdin and drain both outputs until the other side has no more to say.

    ShellTimeout at `deadline` (monotonic seconds).
    """
    open_ = True
    quiet_since: float | None = None
    channel.settimeout(POLL_SECONDS)
    while True:
        now = time.monotonic()
        if now > deadline:
            raise ShellTimeout("the command did not end in time")
        moved = _drain(channel, stdout, stderr)
        if open_:
            moved |= _feed(channel, source)
            if source.ended:
                with contextlib.suppress(OSError):
                    channel.shutdown_write()
                open_ = False
        if moved:
            quiet_since = None
            continue
        if channel.closed or (channel.exit_status_ready() and channel.eof_received):
            if not channel.recv_ready() and not channel.recv_stderr_ready():
                return
            continue
        if channel.exit_status_ready():
            # The command ended, but something it left behind holds its output open.
            quiet_since = quiet_since or now
            if now - quiet_since > LINGER_SECONDS:
                return
        _wait(channel, source)


def _feed(channel: paramiko.Channel, source: Input) -> bool:
    """Send a piece of the input, if there is one and the guest takes it; whether it did."""
    if not channel.send_ready():
        return False
    piece = source.pending()
    if not piece:
        return False
    try:
        source.sent(channel.send(piece))
    except TimeoutError:
        return False  # a full window; the outputs must be drained meanwhile
    except OSError:
        source.drop()  # the command has closed its input; its exit code says why
    return True


def _drain(channel: paramiko.Channel, stdout: io.BufferedIOBase, stderr: io.BufferedIOBase) -> bool:
    """Pass on what has come; whether there was any."""
    moved = False
    if channel.recv_stderr_ready():
        stderr.write(channel.recv_stderr(CHUNK))
        stderr.flush()
        moved = True
    if channel.recv_ready():
        stdout.write(channel.recv(CHUNK))
        stdout.flush()
        moved = True
    return moved


def _wait(channel: paramiko.Channel, source: Input) -> None:
    """Until something comes from either side, for a while."""
    # fileno() makes paramiko signal incoming data through a pipe that select can see.
    inputs = [channel.fileno()]
    full = not channel.send_ready()
    if source.fd is not None and not full:
        inputs.append(source.fd)
    select.select(inputs, [], [], WINDOW_SECONDS if full else POLL_SECONDS)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])
