"""The agent's loop: step the device while it is busy, sleep on its doorbells when it is not.

::

    step() -> True ──┐
      ^──────────────┘ busy
      │ False: nothing to do
    arm() -> False   something came in while arming: step again
      │ True: the rings' events ask for a doorbell
    wait(doorbells, SAFETY_MS) ── a doorbell, a signal, or time

The time-out is the safety net: a lost doorbell costs its length, and nothing else.
"""

from collections.abc import Callable
from typing import Protocol

from devmodel.link.doorbell import Waiter

SAFETY_MS = 20


class Steppable(Protocol):
    """What the loop needs of a device."""

    def step(self) -> bool:
        """Do a bounded piece of work; whether there is more."""

    def arm(self) -> bool:
        """Ask for doorbells; False if work came in meanwhile."""


def run(
    device: Steppable, waiter: Waiter, stopped: Callable[[], bool], tidy: Callable[[], None]
) -> None:
    """Step `device` until `stopped()`, with a `tidy()` after each step.

    Exceptions of the device pass through: they are bugs.
    """
    while not stopped():
        busy = device.step()
        tidy()
        if busy:
            continue
        if device.arm():
            waiter.wait(SAFETY_MS)
