"""The agent's loop: step the device while it is busy, wait for its driver when it is not.

::

    step() -> True ──┐
      ^──────────────┘ busy
      │ False: nothing to do
    arm() -> False   something came in while arming: step again
      │ True: the rings' events ask the driver to ring
    wait(SAFETY_MS) ── the driver, a signal, or time

The time-out is the safety net: a ring that is lost costs its length, and nothing else.
"""

from collections.abc import Callable
from typing import Protocol

SAFETY_MS = 20


class Steppable(Protocol):
    """What the loop needs of a device."""

    def step(self) -> bool:
        """Do a bounded piece of work; whether there is more."""

    def arm(self) -> bool:
        """Ask to be told of work; False if some came in meanwhile."""


def run(
    device: Steppable,
    wait: Callable[[int], None],
    stopped: Callable[[], bool],
    tidy: Callable[[], None],
) -> None:
    """Step `device` until `stopped()`, with a `tidy()` after each step.

    `wait` sleeps for so many milliseconds, or until there may be work. Exceptions of the device
    pass through: they are bugs.
    """
    while not stopped():
        busy = device.step()
        tidy()
        if busy:
            continue
        if device.arm():
            wait(SAFETY_MS)
