"""The command line on real guests: exit codes, guests that outlive a command, SIGKILL."""

import contextlib
import json
import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

DEVMODEL = [sys.executable, "-m", "devmodel.cli.main"]
CONFIG = "memory: 256M\nrestarts: 0\ndevices:\n  - model: mirror\n"
SECONDS = 60
# As lists of processes show it, whichever QEMU it is.
QEMU = "qemu-system-x86"

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VMs of these tests are nobody else's."""
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def description(tmp_path: Path) -> str:
    path = tmp_path / "guest.yaml"
    path.write_text(CONFIG)
    return str(path)


def devmodel(
    *words: str, code: int | None = 0, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*DEVMODEL, *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def started(description: str) -> Iterator[str]:
    """The name of a guest that runs by itself."""
    yield devmodel("start", description).stdout.strip()
    devmodel("stop", "--all", code=None)


def vms(*words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(devmodel("ps", "--json", *words).stdout)
    return found


def processes_of(keeper: int) -> dict[str, int]:
    """pidfds of the keeper's QEMU and agent."""
    found = {}
    for child in Path(f"/proc/{keeper}/task").glob("*/children"):
        for pid in child.read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            kind = "agent" if "devmodel.agent" in words else name
            found[kind] = os.pidfd_open(int(pid))
    assert sorted(found) == ["agent", QEMU]
    return found


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], SECONDS)[0])


def test_run_passes_everything_through(description: str) -> None:
    command = "cat; echo err >&2; exit 42"
    done = devmodel("run", description, "--", "sh", "-c", command, code=42, stdin="input\n")
    assert done.stdout == "input\n"
    assert "err\n" in done.stderr
    assert vms() == []


def test_each_command_speaks_json(description: str, tmp_path: Path) -> None:
    """What they say besides is the same."""

    def said(*words: str, code: int = 0) -> Any:
        return json.loads(devmodel(*words, code=code).stdout)

    command = ["--", "sh", "-c", "echo out; echo err >&2; exit 3"]
    told = said("run", description, "--json", *command, code=3)
    assert (told["exit_code"], told["stdout"], told["stderr"]) == (3, "out\n", "err\n")
    started = said("start", description, "--json")
    assert (started["state"], started["devices"]) == ("running", ["mirror"])
    name = started["name"]
    try:
        assert said("exec", name, "--json", *command, code=3) == told
        way = said("ssh", name, "--json")
        (tmp_path / "known_hosts").write_text(f"{way['known_hosts']}\n")
        client = paramiko.SSHClient()
        client.load_host_keys(str(tmp_path / "known_hosts"))
        client.connect(
            *(way["host"], way["port"], way["user"]), key_filename=way["key"], look_for_keys=False
        )
        with client:
            assert client.exec_command("echo there")[1].read() == b"there\n"
        log = said("logs", name, "--json")
        assert Path(log["log"]).read_text(errors="replace").splitlines() == log["lines"]
    finally:
        (stopped,) = said("stop", name, "--json")
    assert (stopped["name"], stopped["state"]) == (name, "ended")


def test_a_panic_is_250(description: str) -> None:
    words = ["run", description, "--", "sh", "-c", "echo c >/proc/sysrq-trigger"]
    done = devmodel(*words, code=250)
    assert "Kernel panic - not syncing" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("devmodel: the guest died: ")


def test_a_command_that_takes_too_long_is_124(description: str) -> None:
    devmodel("run", description, "--timeout", "1", "--", "sleep", "60", code=124)


def test_a_kernel_complaint_is_251(description: str) -> None:
    command = "echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1' >/dev/kmsg"
    devmodel("run", description, "--", "sh", "-c", command, code=251)


def test_tests_that_pass_do_not_make_up_for_it(description: str, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    tests = "echo 1..2; echo ok 1 a; echo ok 2 b"
    words = ["run", description, "--ktap", "--junit", str(out), "--", "sh", "-c"]
    done = devmodel(*words, tests)
    assert done.stdout == "1..2\nok 1 a\nok 2 b\n"
    assert done.stderr.splitlines()[-1] == "2 tests: 2 passed"
    assert "<error" not in out.read_text()
    warns = "echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1' >/dev/kmsg"
    done = devmodel(*words, f"{tests}; {warns}", code=251)
    assert done.stdout == "1..2\nok 1 a\nok 2 b\n"
    assert "<error message=\"the guest's kernel complained" in out.read_text()


def test_a_debugger_lets_the_guest_go(description: str) -> None:
    """What gdb does with `target remote PATH` and `detach`, in its own protocol."""
    run = subprocess.Popen(
        [*DEVMODEL, "run", description, "--gdb", "--", "echo", "done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None and run.stderr is not None
    with contextlib.ExitStack() as stack:
        # It waits for ever for a debugger.
        stack.callback(run.kill)
        line = next(line for line in run.stderr if "waiting for a debugger" in line)
        command = shlex.split(line.partition(": ")[2])
        path = next(word for word in command if word.startswith("target remote ")).split()[2]
        gdb = stack.enter_context(socket.socket(socket.AF_UNIX))
        gdb.settimeout(SECONDS)
        gdb.connect(path)
        gdb.sendall(b"+$?#3f")
        said = b""
        while b"$T05" not in said:
            # First comes a "+", and the rest when it comes.
            said += gdb.recv(64) or pytest.fail(f"the debugger's end said {said!r} and went")
        gdb.sendall(b"+$D#44")
        out, err = run.communicate(timeout=SECONDS)
    assert (run.returncode, out) == (0, "done\n"), err
    assert not Path(path).exists()


def test_the_line_to_paste_boots(description: str) -> None:
    """A dry run's line boots to a ready guest without anything of devmodel's running."""
    line = devmodel("run", description, "--dry-run").stdout
    guest = subprocess.Popen(
        ["sh", "-c", f"exec {line}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert guest.stdout is not None
    try:
        assert any("devmodel-guest: ready" in said for said in guest.stdout)
    finally:
        guest.kill()
        guest.wait()


def test_a_guest_outlives_the_command_that_started_it(started: str, own_state: Path) -> None:
    (found,) = vms()
    assert (found["name"], found["state"]) == (started, "running")
    devmodel("exec", "--", "sh", "-c", "echo kept >/tmp/file")
    assert devmodel("exec", started, "--", "cat", "/tmp/file").stdout == "kept\n"
    devmodel("exec", "--", "sh", "-c", "exit 7", code=7)
    assert devmodel("logs", "--path").stdout.strip() == str(own_state / "vms" / started)
    devmodel("stop")
    assert vms() == []
    assert [vm["state"] for vm in vms("-a")] == ["ended"]
    assert "Linux version" in devmodel("logs", "--dmesg").stdout
    assert "devmodel-guest: ready" in devmodel("logs").stdout


def test_exec_in_a_guest_that_panics_is_250(started: str) -> None:
    words = ["exec", started, "--", "sh", "-c", "echo c >/proc/sysrq-trigger"]
    assert "Kernel panic" in devmodel(*words, code=250).stderr
    assert vms() == []
    assert "Kernel panic" in str(vms("-a")[0]["ending"])


def test_stop_reports_what_the_kernel_complained_of(started: str) -> None:
    command = "echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1' >/dev/kmsg"
    devmodel("exec", started, "--", "sh", "-c", command)
    assert "made_up.c" in devmodel("stop", code=251).stderr


def test_a_second_guest_of_a_name_gets_a_number(started: str, description: str) -> None:
    second = devmodel("start", description).stdout.strip()
    assert second == f"{started}-2"
    assert "name one of" in devmodel("exec", "--", "true", code=2).stderr
    devmodel("stop", "--all")
    assert vms() == []


def test_ssh_is_a_terminal(started: str) -> None:
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [*DEVMODEL, "ssh", started], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    os.write(ours, b"tty && exit 5\n")
    said = b""
    while b"/dev/pts/" not in said:
        assert select.select([ours], [], [], SECONDS)[0]
        said += os.read(ours, 4096)
    assert shell.wait(SECONDS) == 5
    os.close(ours)


def test_a_killed_keeper_takes_everything_with_it(started: str, own_state: Path) -> None:
    (found,) = vms()
    keeper = int(str(found["pid"]))
    processes = processes_of(keeper)
    os.kill(keeper, signal.SIGKILL)
    for pidfd in processes.values():
        assert ended(pidfd)
        os.close(pidfd)
    assert vms() == []
    assert vms("-a")[0]["ending"] == "the process that held it is gone"
    assert not (own_state / "vms" / started / "key").exists()


@pytest.mark.usefixtures("started")
def test_a_killed_qemu_takes_the_agent_with_it() -> None:
    (found,) = vms()
    keeper = os.pidfd_open(int(str(found["pid"])))
    processes = processes_of(int(str(found["pid"])))
    signal.pidfd_send_signal(processes[QEMU], signal.SIGKILL)
    assert ended(processes["agent"])
    assert ended(keeper)
    assert vms() == []
    assert "QEMU was killed by signal 9" in str(vms("-a")[0]["ending"])


def test_a_killed_agent_is_reported_and_the_guest_stays(started: str) -> None:
    processes = processes_of(int(str(vms()[0]["pid"])))
    signal.pidfd_send_signal(processes["agent"], signal.SIGKILL)
    assert ended(processes["agent"])
    # The keeper needs a moment to write it down; a command in the guest takes longer.
    devmodel("exec", started, "--", "true")
    assert vms()[0]["lost_devices"] == [0]
    assert "was killed by SIGKILL" in devmodel("stop", code=253).stderr


def test_an_open_pipe_that_says_nothing_is_no_reason_to_wait(description: str) -> None:
    reader, writer = os.pipe()
    run = subprocess.run(
        [*DEVMODEL, "run", description, "--", "echo", "done"],
        stdin=reader,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert run.stdout == b"done\n"
    os.close(reader)
    os.close(writer)


def test_input_is_passed_on_as_it_comes(started: str) -> None:
    shell = subprocess.Popen(
        [*DEVMODEL, "exec", started, "--", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert shell.stdin is not None and shell.stdout is not None
    for line in (b"one\n", b"two\n"):
        shell.stdin.write(line)
        shell.stdin.flush()
        assert shell.stdout.readline() == line
    shell.stdin.close()
    assert shell.wait(SECONDS) == 0


def test_ctrl_c_ends_a_run_cleanly(description: str) -> None:
    run = subprocess.Popen(
        [*DEVMODEL, "run", description, "--", "sh", "-c", "echo up; sleep 100"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    processes = processes_of(run.pid)
    run.send_signal(signal.SIGINT)
    assert run.wait(SECONDS) == 128 + signal.SIGINT
    for pidfd in processes.values():
        assert ended(pidfd)
        os.close(pidfd)


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(CONFIG + "boot_timeout: 1\nappend: rdinit=/bin/cat\n")
    done = devmodel("start", str(path), code=6)
    assert "the guest was not ready after 1 s" in done.stderr
    assert vms() == []
