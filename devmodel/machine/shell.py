"""The guest's shell: SSH by key, to an address on the host's loopback.

paramiko is known here and nowhere else.
"""

import base64
import contextlib
import io
import os
import secrets
import select
import shlex
import shutil
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

CONNECT_SECONDS = 20.0
OPEN_SECONDS = 20.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.2
LINGER_SECONDS = 0.5
CHUNK = 65536
MARK = "DEVMODEL_COMMAND"


class ShellGone(Exception):
    """The connection broke: the guest, or the way to it, is gone."""


class ShellTimeout(Exception):
    """The command did not end in time."""


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended. A command killed by a signal has 128 + its number."""

    exit_code: int
    stdout: str
    stderr: str

    def check(self) -> "Result":
        """Itself, if the exit code is 0; else RuntimeError with the end of stderr."""
        if self.exit_code:
            raise RuntimeError(f"exit code {self.exit_code}: {self.stderr.strip()[-2000:]}")
        return self


class GuestShell:
    """A connection to one guest; every command is a channel of its own."""

    def __init__(self, port: int, key: bytes, host_key: bytes) -> None:
        """`key` is an OpenSSH private key, `host_key` the guest's public line."""
        self._port = port
        self._key = paramiko.Ed25519Key.from_private_key(io.StringIO(key.decode()))
        self._host_key = paramiko.PKey.from_type_string(*_split(host_key))
        self._transport: paramiko.Transport | None = None

    def connect(self) -> None:
        """Log in. ShellGone if nobody answers, or somebody else does."""
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), CONNECT_SECONDS)
            transport = paramiko.Transport(sock)
            # Emulated guests are slow at this; the defaults are for networks.
            transport.banner_timeout = transport.auth_timeout = CONNECT_SECONDS
            transport.start_client(timeout=CONNECT_SECONDS)
            if transport.get_remote_server_key() != self._host_key:
                transport.close()
                raise ShellGone("the guest's host key is not the one it was given")
            transport.auth_publickey("root", self._key)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ShellGone(f"no shell on port {self._port}: {error}") from error
        self._transport = transport

    def close(self) -> None:
        """Close the connection and all that runs over it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _open(self, limit: float = OPEN_SECONDS) -> paramiko.Channel:
        if self._transport is None or not self._transport.is_active():
            self.connect()
        assert self._transport is not None
        try:
            return self._transport.open_session(timeout=min(limit, OPEN_SECONDS))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ShellGone(f"the guest opens no session: {error}") from error

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | str = b"",
        timeout: float,
        stdout: io.BufferedIOBase | None = None,
        stderr: io.BufferedIOBase | None = None,
    ) -> Result:
        """Run a command: a list of words, or a line for the shell.

        `stdout` and `stderr` get the output as it comes; the result holds it too, unless they
        are given. ShellTimeout after `timeout` seconds, ShellGone if the connection breaks.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        mark = secrets.token_hex(8)
        # The last line keeps the shell from replacing itself by the command: so a death by
        # signal comes back as 128 + number. The mark is in the environment of all it starts.
        line = f"export {MARK}={mark}\n{line}\nexit $?"
        channel = self._open(timeout)
        out, err = io.BytesIO(), io.BytesIO()
        deadline = time.monotonic() + timeout
        with channel:
            try:
                channel.exec_command(line)
                _exchange(channel, data, stdout or out, stderr or err, deadline)
                code = _exit_code(channel, deadline)
            except ShellTimeout:
                self._kill(mark)
                raise
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise ShellGone(f"the connection broke: {error}") from error
        return Result(code, out.getvalue().decode(errors="replace"), _text(err))

    def _kill(self, mark: str) -> None:
        """Kill whatever carries `mark`, if the guest still listens; that it does not is no news."""
        line = (
            f"for p in /proc/[0-9]*; do grep -qs {MARK}={mark} $p/environ"
            " && kill -9 ${p#/proc/}; done"
        )
        gone = (ShellGone, OSError, EOFError, paramiko.SSHException)
        with contextlib.suppress(*gone), self._open(KILL_SECONDS) as channel:
            channel.exec_command(line)
            channel.status_event.wait(KILL_SECONDS)

    def interactive(self, command: str | None = None) -> int:
        """This terminal becomes the guest's, until the shell (or `command`) ends there."""
        channel = self._open()
        size = shutil.get_terminal_size()
        with channel:
            channel.get_pty(os.environ.get("TERM", "vt100"), size.columns, size.lines)
            if command is None:
                channel.invoke_shell()
            else:
                channel.exec_command(command)
            with _raw_terminal(), _resizing(channel):
                _terminal_loop(channel)
            return _exit_code(channel, time.monotonic() + OPEN_SECONDS)

    def put(self, source: Path, target: str, *, timeout: float) -> None:
        """Copy a file into the guest, with its executable bit. OSError if the guest refuses."""
        mode = "755" if os.access(source, os.X_OK) else "644"
        quoted = shlex.quote(target)
        line = f"cat >{quoted} && chmod {mode} {quoted}"
        result = self.run(line, stdin=source.read_bytes(), timeout=timeout)
        if result.exit_code:
            raise OSError(f"{target}: {result.stderr.strip()}")

    def get(self, source: str, target: Path, *, timeout: float) -> None:
        """Copy a file out of the guest. OSError if the guest cannot read it."""
        with target.open("wb") as out:
            result = self.run(["cat", source], stdout=out, timeout=timeout)
        if result.exit_code:
            target.unlink()
            raise OSError(f"{source}: {result.stderr.strip()}")


def _split(line: bytes) -> tuple[str, bytes]:
    kind, data, *_ = line.split()
    return kind.decode(), base64.b64decode(data)


def _text(buffer: io.BytesIO) -> str:
    return buffer.getvalue().decode(errors="replace")


def _exchange(
    channel: paramiko.Channel,
    data: bytes,
    stdout: io.BufferedIOBase,
    stderr: io.BufferedIOBase,
    deadline: float,
) -> None:
    """Feed stdin and drain both outputs until the other side has no more to say."""
    sent, open_ = 0, True
    quiet_since: float | None = None
    channel.settimeout(POLL_SECONDS)
    while True:
        now = time.monotonic()
        if now > deadline:
            raise ShellTimeout("the command did not end in time")
        moved = _drain(channel, stdout, stderr)
        if open_ and sent < len(data) and channel.send_ready():
            try:
                sent += channel.send(data[sent : sent + CHUNK])
                moved = True
            except TimeoutError:
                pass  # a full window; the outputs must be drained meanwhile
            except OSError:
                sent = len(data)  # nobody reads it any more; the exit code says why
        if open_ and sent >= len(data):
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
        # fileno() makes paramiko signal incoming data through a pipe that select can see.
        select.select([channel.fileno()], [], [], POLL_SECONDS if not open_ else 0.01)


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


def _exit_code(channel: paramiko.Channel, deadline: float) -> int:
    if not channel.status_event.wait(max(deadline - time.monotonic(), POLL_SECONDS)):
        raise ShellTimeout("the command did not say how it ended")
    code = channel.exit_status
    if code < 0:
        raise ShellGone("the connection broke before the command ended")
    return code


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    # Not TCSAFLUSH: what was typed ahead is the guest's.
    tty.setraw(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(channel: paramiko.Channel) -> Iterator[None]:
    def resized(*_: object) -> None:
        size = shutil.get_terminal_size()
        channel.resize_pty(size.columns, size.lines)

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _terminal_loop(channel: paramiko.Channel) -> None:
    inputs = [channel.fileno(), sys.stdin.fileno()]
    while True:
        ready, _, _ = select.select(inputs, [], [], POLL_SECONDS)
        if channel.fileno() in ready or channel.closed:
            data = channel.recv(65536)
            if not data:
                return
            os.write(sys.stdout.fileno(), data)
        if sys.stdin.fileno() in ready:
            typed = os.read(sys.stdin.fileno(), 4096)
            if typed:
                channel.sendall(typed)
            else:
                channel.shutdown_write()
                inputs.remove(sys.stdin.fileno())
