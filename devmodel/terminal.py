"""This terminal as the guest's: raw, resized with the window, until the other side ends."""

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator

import paramiko

POLL_SECONDS = 0.2


def attach(channel: paramiko.Channel) -> None:
    """Connect stdin and stdout with `channel`, which has a terminal, until it closes."""
    with _raw(), _resizing(channel):
        _loop(channel)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
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


def _loop(channel: paramiko.Channel) -> None:
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
