"""Shared memory, doorbells and the ivshmem greeting."""

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from devmodel.link import doorbell, ivshmem, memory


def test_two_mappings_are_one_memory() -> None:
    fd = memory.create("test", 8192)
    first, second = memory.attach(fd), memory.attach(fd)
    os.close(fd)
    first[4096] = 7
    assert second[4096] == 7
    assert second.shape == (8192,)
    assert second.dtype == np.uint8
    assert not first[:4096].any()


def test_an_impossible_size_is_an_error_and_leaves_no_descriptor() -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = descriptors()
    with pytest.raises(OSError, match="Invalid argument"):
        memory.create("test", -1)
    assert descriptors() == before


def test_a_ring_is_seen_once() -> None:
    fds = doorbell.create(2)
    waiter = doorbell.Waiter(fds)
    assert not waiter.wait(0)
    doorbell.ring(fds[1])
    doorbell.ring(fds[1])
    assert waiter.wait(1000)
    assert not waiter.wait(0)


def test_a_full_doorbell_neither_blocks_nor_fails() -> None:
    (fd,) = doorbell.create(1)
    os.eventfd_write(fd, (1 << 64) - 2)
    doorbell.ring(fd)
    assert doorbell.Waiter([fd]).wait(0)


def test_a_wake_up_is_no_ring() -> None:
    reader, writer = os.pipe()
    waiter = doorbell.Waiter(doorbell.create(1), reader)
    os.write(writer, b"x")
    assert not waiter.wait(1000)


def receive(sock: socket.socket) -> tuple[int, int | None]:
    data, fds, _, _ = socket.recv_fds(sock, 8, 1)
    (number,) = struct.unpack("<q", data)
    return number, fds[0] if fds else None


def test_the_greeting_is_the_specifications() -> None:
    region = memory.create("region", 4096)
    to_agent, to_guest = doorbell.create(2), doorbell.create(2)
    ours, theirs = ivshmem.serve(region, to_agent, to_guest)
    # docs/specs/ivshmem-spec: version, own id, memory, other clients, own interrupts.
    received = [receive(theirs) for _ in range(7)]
    assert [number for number, _ in received] == [0, 0, -1, 1, 1, 0, 0]
    assert [fd is not None for _, fd in received] == [False, False] + [True] * 5
    memory.attach(region)[5] = 9
    assert memory.attach(received[2][1])[5] == 9  # type: ignore[arg-type]
    for sent, (_, got) in zip([*to_agent, *to_guest], received[3:], strict=True):
        assert got is not None
        os.eventfd_write(got, 3)
        assert os.eventfd_read(sent) == 3
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    ours.close()
