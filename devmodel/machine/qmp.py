"""QMP over an inherited socket, for the supervisor's event loop."""

import asyncio
import contextlib
import re
import socket

from qemu.qmp import QMPClient, QMPError

from devmodel.errors import LaunchFailed

REPLY_SECONDS = 30.0
# TimeoutError is an OSError, too.
GONE = (QMPError, OSError, EOFError)
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+10\.0\.2\.15\s+22")


class Monitor:
    """One VM's QMP connection. Every wait is limited to REPLY_SECONDS."""

    def __init__(self, name: str) -> None:
        self._client = QMPClient(name)

    async def connect(self, sock: socket.socket) -> None:
        """Greet QEMU. LaunchFailed if it does not answer, or ended."""
        try:
            await asyncio.wait_for(self._client.connect(sock), REPLY_SECONDS)
        except TimeoutError as error:
            raise LaunchFailed(f"QEMU does not answer on QMP: {_late()}") from error
        except GONE as error:
            raise LaunchFailed(f"QEMU does not answer on QMP: {_words(error)}") from error

    async def command(self, name: str, **arguments: object) -> object:
        """Run a command. LaunchFailed if it fails: only a start needs any."""
        reply = self._client.execute(name, arguments or None)
        try:
            return await asyncio.wait_for(reply, REPLY_SECONDS)
        except TimeoutError as error:
            raise LaunchFailed(f"QEMU does not answer to {name}: {_late()}") from error
        except GONE as error:
            raise LaunchFailed(f"QEMU does not do {name}: {_words(error)}") from error

    async def ssh_port(self) -> int:
        """The port on 127.0.0.1 that leads to the guest's shell."""
        text = await self.command("human-monitor-command", **{"command-line": "info usernet"})
        return parse_forward(str(text))

    async def disconnect(self) -> None:
        """Close the connection, whatever state it is in."""
        # An error here means that it is gone, which is what was wanted.
        with contextlib.suppress(*GONE):
            await asyncio.wait_for(self._client.disconnect(), REPLY_SECONDS)


def _late() -> str:
    return f"nothing came for {REPLY_SECONDS:g} s"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def parse_forward(text: str) -> int:
    """The forwarded port in `info usernet`'s table. LaunchFailed if there is none."""
    match = _FORWARD.search(text)
    if match is None:
        raise LaunchFailed("QEMU did not forward a port to the guest", details=text)
    return int(match[1])
