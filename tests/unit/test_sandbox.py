"""Commands in a tree: what they see, and that they end. This machine's own / is the tree here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devmodel.build import command, sandbox
from devmodel.errors import BuildFailed, HostNotReady

TREE = Path("/")
METHODS = {"bwrap": sandbox._bwrap, "unshare": sandbox._unshare}
SECONDS = 20.0


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = str(request.param)
    sandbox.choose.cache_clear()
    done = sandbox._try(name, METHODS[name], TREE)
    if done is not None:
        pytest.skip(f"{name} does not work here: {done}")
    monkeypatch.setattr(sandbox, "choose", lambda _: name)
    yield name


def run(tmp_path: Path, script: str) -> str:
    log = tmp_path / "log"
    argv = sandbox.wrap(TREE, ["sh", "-c", script], cwd=tmp_path, folders=[tmp_path])
    command.run(argv, shown=["sh"], leash=True, what="it", log=log)
    return log.read_text().partition("\n")[2]


@pytest.mark.usefixtures("method")
def test_it_sees_the_tree_its_folders_and_proc(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = run(tmp_path, "pwd; ls /; test -r /proc/self/limits && cat file; echo y >new")
    words = said.split()
    assert words[0] == str(tmp_path)
    assert words[-1] == "x"
    assert {"usr", "proc", "dev", "tmp", "lib64"} <= set(words)
    assert not {"home", "root", "var", "boot"} & set(words) - {tmp_path.parts[1]}
    assert (tmp_path / "new").read_text() == "y\n"


@pytest.mark.usefixtures("method")
def test_it_cannot_change_the_tree(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed):
        run(tmp_path, "echo x >/usr/devmodel-was-here")
    assert not Path("/usr/devmodel-was-here").exists()


@pytest.mark.usefixtures("method")
def test_its_input_is_empty_and_its_exit_code_counts(tmp_path: Path) -> None:
    assert run(tmp_path, "cat; echo end") == "end\n"
    with pytest.raises(BuildFailed, match="sh ended with 3"):
        run(tmp_path, "exit 3")


SLEEPER = """
from pathlib import Path
from devmodel.build import command, sandbox
sandbox.choose = lambda _: {method!r}
folder = Path({folder!r})
argv = sandbox.wrap(Path("/"), ["sh", "-c", "echo here; trap '' TERM INT; sleep 1234.5"],
                    cwd=folder, folders=[folder])
command.run(argv, shown=["sh"], leash=True, what="it", log=folder / "log")
"""


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return [line for line in found if line == "sleep\0001234.5\0"]


def until(condition: "object") -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_whoever_started_it(method: str, tmp_path: Path, number: int) -> None:
    source = SLEEPER.format(method=method, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.DEVNULL)
    log = tmp_path / "log"
    until(lambda: log.exists() and "here" in log.read_text() and sleepers())
    os.kill(process.pid, number)
    process.wait(SECONDS)
    until(lambda: not sleepers())


def test_where_neither_works_it_is_said_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.choose.cache_clear()
    with pytest.raises(HostNotReady, match=r"cannot be isolated here \(no bwrap; no unshare\); "):
        sandbox.choose(TREE)
    (tmp_path / "unshare").write_text("#!/bin/sh\necho unshare: unshare failed: no >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    with pytest.raises(HostNotReady, match=r"\(no bwrap; unshare: unshare failed: no\); "):
        sandbox.choose(TREE)
