"""Servers of shared folders: a virtiofsd for each, from the tools tree.

It listens on a socket that QEMU's end is connected to before either starts, so that no path has to
be agreed on and nothing has a name that could be left behind (the socket's own is abstract).
"""

import socket
from dataclasses import dataclass

from devmodel.build.tree import Tree
from devmodel.machine import shares
from devmodel.machine.shares import Share

PROGRAM = "libexec/virtiofsd"


@dataclass(frozen=True)
class Server:
    """What the supervisor starts."""

    argv: tuple[str, ...]
    listener: socket.socket


@dataclass(frozen=True)
class Served:
    """A folder on its way to a guest."""

    server: Server
    qemu: socket.socket
    """QEMU's end"""

    def close(self) -> None:
        """This process's copies; QEMU and the server have their own."""
        self.server.listener.close()
        self.qemu.close()


def serve(share: Share, tools: Tree) -> Served:
    """Sockets and a command line for a server of `share`; nothing is started."""
    listener, client = (socket.socket(socket.AF_UNIX) for _ in range(2))
    listener.bind("")
    listener.listen(1)
    client.connect(listener.getsockname())
    argv = [*tools.native(PROGRAM), "--fd", str(listener.fileno()), *shares.server_options(share)]
    return Served(Server(tuple(argv), listener), client)
