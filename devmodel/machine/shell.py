"""The guest's shell: SSH by key, to an address on the host's loopback.

paramiko is known here, in stream.py and in terminal.py, and nowhere else.
"""

import base64
import contextlib
import io
import os
import secrets
import shlex
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from devmodel import terminal
from devmodel.machine.stream import Input, ShellTimeout, exchange

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 20.0
OPEN_SECONDS = 20.0
KILL_SECONDS = 5.0
MARK = "DEVMODEL_COMMAND"


class ShellGone(Exception):
    """The connection broke: the guest, or the way to it, is gone."""


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
            sock = socket.create_connection((LOOPBACK, self._port), CONNECT_SECONDS)
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
        stdin: bytes | str | int = b"",
        timeout: float,
        stdout: io.BufferedIOBase | None = None,
        stderr: io.BufferedIOBase | None = None,
    ) -> Result:
        """Run a command: a list of words, or a line for the shell.

        `stdin` is what the command reads, or a descriptor to pass on from as something comes.
        `stdout` and `stderr` get the output as it comes; the result holds it if they are not given.
        ShellTimeout after `timeout` seconds, ShellGone if the connection breaks.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        source = Input(stdin.encode() if isinstance(stdin, str) else stdin)
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
                exchange(channel, source, stdout or out, stderr or err, deadline)
                code = _exit_code(channel, deadline)
            except ShellTimeout as error:
                raise ShellTimeout(str(error), where=self._kill(mark)) from None
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise ShellGone(f"the connection broke: {error}") from error
        return Result(code, out.getvalue().decode(errors="replace"), _text(err))

    def _kill(self, mark: str) -> str:
        """Kill whatever carries `mark`, if the guest still listens; that it does not is no news.

        Returns where each of its threads was: what a reader needs who asks why it took so long.
        """
        line = (
            f"for p in /proc/[0-9]*; do grep -qs {MARK}={mark} $p/environ || continue; "
            'for t in $p/task/*; do sed -n "/^Name:/p;/^State:/p;/^Pid:/p" $t/status; cat $t/stack;'
            " done; kill -9 ${p#/proc/}; done 2>/dev/null"
        )
        gone = (ShellGone, OSError, EOFError, paramiko.SSHException, ShellTimeout)
        out = io.BytesIO()
        with contextlib.suppress(*gone), self._open(KILL_SECONDS) as channel:
            channel.exec_command(line)
            deadline = time.monotonic() + KILL_SECONDS
            exchange(channel, Input(b""), out, io.BytesIO(), deadline)
        return _text(out)

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
            terminal.attach(channel)
            return _exit_code(channel, time.monotonic() + OPEN_SECONDS)


def _split(line: bytes) -> tuple[str, bytes]:
    kind, data, *_ = line.split()
    return kind.decode(), base64.b64decode(data)


def _text(buffer: io.BytesIO) -> str:
    return buffer.getvalue().decode(errors="replace")


def _exit_code(channel: paramiko.Channel, deadline: float) -> int:
    if not channel.status_event.wait(max(deadline - time.monotonic(), 0.1)):
        raise ShellTimeout("the command did not say how it ended")
    code = channel.exit_status
    if code < 0:
        raise ShellGone("the connection broke before the command ended")
    return code
