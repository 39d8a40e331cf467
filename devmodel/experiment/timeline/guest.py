"""Tracepoints in a guest: switched on, and what they wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devmodel.errors import ConfigError, GuestError
from devmodel.machine.machine import Machine

TRACING = "/sys/kernel/tracing"
INSTANCE = f"{TRACING}/instances/devmodel"
EVENTS = ("devmodel", "sched/sched_process_exec")
NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)?")
BUFFER_KIB = 16384
FETCH_SECONDS = 600.0
# The ends of what is shown, written into the trace.
BEGIN, END = "devmodel: the command begins", "devmodel: the command ended"
# Something for driver and device to talk about: it relates their clocks.
TALK = "for i in $(seq 8); do dm-run fill @65536 8192 1 >/dev/null || exit 1; done"


def check(events: Sequence[str]) -> None:
    """ConfigError for what cannot be a tracepoint's name."""
    for name in events:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--events: {name!r} is no tracepoint",
                hint="write GROUP or GROUP/NAME, as in sched/sched_switch",
            )


def prepare(vm: Machine, events: Sequence[str]) -> None:
    """An instance of our own, with these tracepoints on. ConfigError for one that is not there."""
    lines = [
        "set -e",
        # With it on, the kernel would patch __schedule as events are enabled, and an emulated
        # processor does not always survive that. A new instance takes it from here.
        f"echo 0 >{TRACING}/options/record-cmd",
        f"mkdir -p {INSTANCE}",
        f"cd {INSTANCE}",
        "echo mono >trace_clock",
        f"echo {BUFFER_KIB} >buffer_size_kb",
    ]
    done = vm.run("\n".join(lines))
    if done.exit_code:
        raise GuestError(f"no tracing in this guest: {done.stderr.strip()}")
    for name in events:
        if vm.run(f"test -e {INSTANCE}/events/{name}/enable").exit_code:
            raise ConfigError(
                f"--events: this guest's kernel has no {name}",
                hint="`ls /sys/kernel/tracing/events` in it shows what it has",
            )
        vm.run(f"echo 1 >{INSTANCE}/events/{name}/enable").check()


def talk(vm: Machine) -> None:
    """Have driver and device talk. GuestError if they do not."""
    done = vm.run(TALK)
    if done.exit_code:
        raise GuestError(f"the device does not answer: {done.stderr.strip()}")


def threads(vm: Machine) -> dict[int, str]:
    """The names of the processes that are there now, the kernel's own among them, by number."""
    found = re.findall(
        r"^/proc/(\d+)/comm:(.*)$", vm.run("grep -s . /proc/[0-9]*/comm").stdout, re.M
    )
    return {0: "idle", **{int(number): name for number, name in found}}


def mark(vm: Machine, text: str) -> None:
    """A line in the trace."""
    vm.run(f"echo '{text}' >{INSTANCE}/trace_marker").check()


def fetch(vm: Machine) -> tuple[str, str]:
    """All that was traced, and the text of the files that say what was lost."""
    vm.run(f"echo 0 >{INSTANCE}/tracing_on").check()
    stats = vm.run(f"cat {INSTANCE}/per_cpu/cpu*/stats").stdout
    text = vm.run(["cat", f"{INSTANCE}/trace"], timeout=FETCH_SECONDS).stdout
    return text, stats
