"""What the console's watcher makes of the kernel's words."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from devmodel.errors import HostNotReady
from devmodel.machine import Machine, MachineConfig, console
from devmodel.machine.console import Console, Trouble
from devmodel.machine.ending import explain

LINES = {
    "[    1.663016] Kernel panic - not syncing: sysrq triggered crash": Trouble.PANIC,
    "[   12.000001][    C1] Kernel panic - not syncing: Fatal exception": Trouble.PANIC,
    "[    5.1] BUG: kernel NULL pointer dereference, address: 0000000000000000": Trouble.OOPS,
    "[    5.1] BUG: unable to handle page fault for address: ffffc90000000000": Trouble.OOPS,
    "[    5.1] Oops: 0002 [#1] PREEMPT SMP": Trouble.OOPS,
    "[    5.1] general protection fault, probably for non-canonical address": Trouble.OOPS,
    "[    5.1] kernel BUG at mm/memory.c:1!": Trouble.OOPS,
    "[    5.1] WARNING: CPU: 0 PID: 70 at kernel/panic.c:1 warn+0x1/0x2": Trouble.SPLAT,
    "[    5.1] WARNING: possible circular locking dependency detected": Trouble.SPLAT,
    "[    5.1] BUG: KASAN: use-after-free in f+0x1/0x2": Trouble.SPLAT,
    "[    5.1] BUG: sleeping function called from invalid context at m.c:1": Trouble.SPLAT,
    "[    5.1] rcu: INFO: rcu_preempt self-detected stall on CPU": Trouble.SPLAT,
    "[    5.1] rcu: INFO: rcu_sched detected stalls on CPUs/tasks: {": Trouble.SPLAT,
    "[    5.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!": Trouble.SPLAT,
    "[    5.1] INFO: task cat:71 blocked for more than 122 seconds.": Trouble.SPLAT,
    "[    5.1] kmemleak: 3 new suspected memory leaks": Trouble.SPLAT,
    "[    0.5] mtrr: your CPUs had inconsistent fixed MTRR settings": None,
    "[    1.2] devmodel: loading out-of-tree module taints kernel.": None,
    "[    1.2] devmodel 0000:00:03.0: devmodel0: model mirror": None,
    "a program says WARNING: this is mine": None,
    "BUG: not the kernel's, it has no time": None,
    "": None,
}


@pytest.mark.parametrize(("line", "trouble"), LINES.items())
def test_a_line_means(line: str, trouble: Trouble | None) -> None:
    assert console.classify(line) is trouble


def fed(tmp_path: Path, *chunks: bytes) -> Console:
    watcher = Console(tmp_path / "console.log")
    for chunk in chunks:
        watcher.feed(chunk)
    return watcher


def test_lines_may_come_in_pieces(tmp_path: Path) -> None:
    watcher = fed(tmp_path, b"[    1.0] WARN", b"ING: CPU: 0 at x\r\ndevmodel-gue", b"st: ready\n")
    assert watcher.ready
    assert [event.line for event in watcher.splats()] == ["[    1.0] WARNING: CPU: 0 at x"]


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    watcher = fed(tmp_path, b"[    1.0] Kernel panic - not syncing: x")
    assert watcher.events == []
    watcher.close()
    assert [event.trouble for event in watcher.events] == [Trouble.PANIC]


def test_the_log_has_every_byte(tmp_path: Path) -> None:
    watcher = fed(tmp_path, b"a\xff", b"\nb")
    watcher.close()
    assert (tmp_path / "console.log").read_bytes() == b"a\xff\nb"


def test_the_guests_own_notes_are_kept(tmp_path: Path) -> None:
    watcher = fed(tmp_path, b"devmodel-guest: driver did not load\ndevmodel-guest: ready\n")
    assert watcher.notes == ["driver did not load"]


def test_an_oops_explains_the_panic_after_it(tmp_path: Path) -> None:
    fed(
        tmp_path,
        b"[    1.0] WARNING: CPU: 0 at x\n[    1.1] BUG: kernel NULL pointer dereference\n"
        b"[    1.2] Kernel panic - not syncing: Fatal exception\n",
    )
    worst = console.worst(console.scan(tmp_path / "console.log"))
    assert worst is not None
    assert worst.line == "[    1.1] BUG: kernel NULL pointer dereference"


def test_no_log_is_no_trouble(tmp_path: Path) -> None:
    assert console.scan(tmp_path / "none") == []
    assert console.tail(tmp_path / "none") == ""


def test_a_full_disk_stops_neither_the_guest_nor_the_watching(tmp_path: Path) -> None:
    (tmp_path / "console.log").symlink_to("/dev/full")
    watcher = fed(tmp_path, b"[    1.0] WARNING: CPU: 0 at x\n", b"devmodel-guest: ready\n")
    watcher.close()
    assert watcher.ready
    assert len(watcher.splats()) == 1
    with pytest.raises(HostNotReady, match=r"console\.log: No space left on device; set DEVM"):
        machine_with(watcher).check()


def machine_with(console: Console) -> Machine:
    """A machine that runs, as far as its console is concerned."""
    machine = Machine(MachineConfig())
    state = SimpleNamespace(exit_code=None, lost_devices={})
    supervisor = SimpleNamespace(console=console, state=state, catch_up=lambda: None)
    machine._running = SimpleNamespace(supervisor=supervisor)  # type: ignore[assignment]
    return machine


def test_a_bug_of_a_listener_is_raised_to_who_asks_and_not_to_who_feeds(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(line: str) -> None:
        heard.append(line)
        raise ZeroDivisionError(line)

    watcher = Console(tmp_path / "console.log", listen)
    watcher.feed(b"one\ntwo\ndevmodel-guest: ready\n")
    assert watcher.ready
    assert heard == ["one"]
    with pytest.raises(ZeroDivisionError, match="one"):
        machine_with(watcher).check()


def test_a_listener_whose_reader_is_gone_has_heard_enough(tmp_path: Path) -> None:
    def listen(_: str) -> None:
        raise BrokenPipeError

    watcher = Console(tmp_path / "console.log", listen)
    watcher.feed(b"one\ntwo\n")
    machine_with(watcher).check()


def test_a_death_is_told_with_its_place(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(
        "[    1.0] Oops: int3: 0000 [#1] SMP NOPTI\n"
        "[    1.0] CPU: 1 UID: 0 PID: 5 Comm: sh Not tainted 7.2\n"
        "[    1.0] RIP: 0010:__schedule+0x1ca/0x16d0\n"
        "[    1.0] Kernel panic - not syncing: Fatal exception\n"
    )
    error = explain("no word", log, ending=None)
    assert str(error).startswith(
        "the guest died: [    1.0] Oops: int3: 0000 [#1] SMP NOPTI in __schedule+0x1ca/0x16d0;"
    )
