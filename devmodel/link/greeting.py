"""The server's side of ivshmem's protocol, in messages written before QEMU starts.

QEMU's `ivshmem-doorbell` is a client of a server that hands out the shared memory and the
peers' eventfds (QEMU's docs/specs/ivshmem-spec). The server only ever sends, and what it has to
say is known beforehand: so it is no process, but a socketpair with the messages already in it.
Each message is one little-endian signed 64-bit number, some with a descriptor::

    0                   protocol version
    0                   the client's own id (QEMU)
    -1       + fd       the shared memory
    1        + eventfd  the agent connected: vector 0, then the same for vector 1, ...
    0        + eventfd  the client's own interrupts: vector 0, vector 1, ...

A client cannot reconnect, so the socket's other end lives as long as the VM.
"""

import socket
import struct
from collections.abc import Iterator, Sequence

PROTOCOL_VERSION = 0
QEMU_PEER = 0
AGENT_PEER = 1
SHARED_MEMORY = -1


def messages(
    region: int, to_agent: Sequence[int], to_guest: Sequence[int]
) -> Iterator[tuple[int, int | None]]:
    """The greeting as (number, descriptor or None) in the order of the specification."""
    yield PROTOCOL_VERSION, None
    yield QEMU_PEER, None
    yield SHARED_MEMORY, region
    for fd in to_agent:
        yield AGENT_PEER, fd
    for fd in to_guest:
        yield QEMU_PEER, fd


def serve(
    region: int, to_agent: Sequence[int], to_guest: Sequence[int]
) -> tuple[socket.socket, socket.socket]:
    """A socketpair (ours, QEMU's) with the whole greeting waiting in QEMU's end.

    `region` is the memfd of BAR 2; `to_agent` are the eventfds that the guest rings, `to_guest`
    those that raise its interrupts, one a vector. Keep "ours" open for the VM's life.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for number, fd in messages(region, to_agent, to_guest):
        data = struct.pack("<q", number)
        socket.send_fds(ours, [data], [] if fd is None else [fd])
    return ours, theirs
