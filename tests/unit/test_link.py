"""Shared memory, doorbells, the ivshmem greeting, and the ends of a link."""

import os
import socket
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from devmodel.abi.registers import VECTORS, Vector
from devmodel.device import DeviceConfig
from devmodel.link import DEFAULT, doorbell, greeting, memory
from devmodel.link.ivshmem import IvshmemEndpoint
from devmodel.link.memory import Window
from devmodel.link.rammap import HIGH_BASE, LOW_LIMIT


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


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
    ours, theirs = greeting.serve(region, to_agent, to_guest)
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


def test_both_ends_of_a_link() -> None:
    """What the supervisor keeps and what an agent is told are the same memory and wires."""
    ram = memory.create("ram", LOW_LIMIT + 4096)
    window = Window(fd=ram, offset=0, size=LOW_LIMIT + 4096)
    awake, waker = os.pipe()
    with DEFAULT.endpoint(0, DeviceConfig(hbm=2 << 20), window) as endpoint:
        assert isinstance(endpoint, IvshmemEndpoint)
        attached = endpoint.wires({3: window}).attach(awake)
        assert attached.hbm is not None and endpoint.hbm is not None
        for here, there in (
            (endpoint.region, attached.region),
            (endpoint.hbm.attach(), attached.hbm),
            (window.attach(), attached.peers[3]),
            (window.attach()[LOW_LIMIT:], attached.ram[1][1]),
        ):
            here[4095] = 7
            assert there[4095] == 7
            assert here.size == there.size
        assert [start for start, _ in attached.ram] == [0, HIGH_BASE]
        # Each way, and each vector by itself.
        attached.interrupt(Vector.FAULT)
        rung = [doorbell.Waiter([fd]).wait(0) for fd in endpoint.interrupts]
        assert rung == [vector == Vector.FAULT for vector in range(VECTORS)]
        begin = time.monotonic()
        doorbell.ring(endpoint.doorbells[0])
        attached.wait(60_000)
        os.write(waker, b"x")
        attached.wait(60_000)
        assert time.monotonic() - begin < 50
    for fd in (ram, awake, waker):
        os.close(fd)


def test_what_is_qemus_alone_is_let_go_of() -> None:
    ram = memory.create("ram", 4096)
    with DEFAULT.endpoint(4, DeviceConfig(), Window(fd=ram, offset=0, size=4096)) as endpoint:
        (guest,) = endpoint.descriptors
        assert f"socket,id=link4,fd={guest}" in endpoint.arguments
        endpoint.handed_over()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(guest)
    os.close(ram)


def test_an_endpoint_that_cannot_be_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no more sockets")

    monkeypatch.setattr(greeting, "serve", refuse)
    before = descriptors()
    with (
        pytest.raises(OSError, match="no more sockets"),
        DEFAULT.endpoint(0, DeviceConfig(), Window(fd=0, offset=0, size=4096)),
    ):
        pass
    assert descriptors() == before
