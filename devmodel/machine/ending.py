"""Why a guest does not answer: what the console says, else what is left of it."""

from collections.abc import Mapping
from pathlib import Path

from devmodel.errors import (
    GuestError,
    GuestHang,
    GuestOops,
    GuestPanic,
    MachineLost,
)
from devmodel.machine import console
from devmodel.machine.console import Trouble


def explain(
    symptom: str, log: Path, *, ending: str | None, lost: Mapping[int, str] | None = None
) -> GuestError:
    """The error for `symptom`. `log` is the console's.

    `ending` says how QEMU ended, None if it runs; `lost` how the agents of devices did.
    """
    hint, details = f"see {log}", console.tail(log)
    event = console.worst(console.scan(log))
    if event is not None:
        kind = GuestOops if event.trouble is Trouble.OOPS else GuestPanic
        place = console.where(log, event)
        at = f" in {place}" if place else ""
        return kind(f"the guest died: {event.line}{at}", hint=hint, details=details)
    also = "".join(f" (the agent of device {n} {how})" for n, how in (lost or {}).items())
    if ending is not None:
        message = f"{symptom}{also}: {ending}, and the console does not say why"
        return MachineLost(message, hint=hint, details=details)
    return GuestHang(f"{symptom}{also}: the guest does not answer", hint=hint, details=details)
