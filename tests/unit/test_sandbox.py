"""Commands in a tree: what they see, and that they end.

This machine's own / is the tree; where proot is at work it is the one that has proot in it.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from devmodel.build import command, sandbox, tree
from devmodel.errors import BuildFailed, HostNotReady

TREE = Path("/")
SECONDS = 20.0


@dataclass(frozen=True)
class Method:
    """One that works here."""

    name: str
    tree: Path

    def run(self, folder: Path, script: str) -> str:
        """What `script` says in the tree."""
        log = folder / "log"
        make = sandbox.METHODS[self.name]
        argv = make(self.tree, ["sh", "-c", script], folder, [folder])
        command.run(argv, shown=["sh"], leash=True, what="it", log=log)
        return log.read_text().partition("\n")[2]


@pytest.fixture(params=sandbox.METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    name, where = str(request.param), TREE
    if name == "proot":
        found = tree.find()
        if found is None:
            pytest.skip("no tools here, and proot is one of them: devmodel build")
        where = found.path
    obstacle = sandbox._try(name, where)
    if obstacle is not None:
        pytest.skip(f"{name} does not work here: {obstacle}")
    return Method(name, where)


def test_it_sees_the_tree_its_folders_and_proc(method: Method, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = method.run(tmp_path, "pwd; ls /; test -r /proc/self/limits && cat file; echo y >new")
    words = said.split()
    assert words[0] == str(tmp_path)
    assert words[-1] == "x"
    assert {"usr", "proc", "dev", "tmp", "lib64"} <= set(words)
    if method.name != "proot":  # its / has the empty folders of a system
        assert not {"home", "root", "var", "boot"} & set(words) - {tmp_path.parts[1]}
    assert (tmp_path / "new").read_text() == "y\n"


def test_it_cannot_change_the_tree(method: Method, tmp_path: Path) -> None:
    if method.name == "proot":
        pytest.skip("proot only shows another /, and keeps nobody from writing to it")
    with pytest.raises(BuildFailed):
        method.run(tmp_path, "echo x >/usr/devmodel-was-here")
    assert not Path("/usr/devmodel-was-here").exists()


def test_its_input_is_empty_and_its_exit_code_counts(method: Method, tmp_path: Path) -> None:
    assert method.run(tmp_path, "cat; echo end") == "end\n"
    with pytest.raises(BuildFailed, match="sh ended with 3"):
        method.run(tmp_path, "exit 3")


# Told from those of others, who may run the same tests at the same time.
NAP = f"1234.{os.getpid()}"
SLEEPER = """
from pathlib import Path
from devmodel.build import command, sandbox, tree
folder = Path({folder!r})
script = "echo here; trap '' TERM INT; sleep {nap}"
argv = sandbox.METHODS[{name!r}](Path({tree!r}), ["sh", "-c", script], folder, [folder])
command.run(argv, shown=["sh"], leash=True, what="it", log=folder / "log")
"""


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return [line for line in found if line == f"sleep\0{NAP}\0"]


def until(condition: "object") -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_whoever_started_it(method: Method, tmp_path: Path, number: int) -> None:
    source = SLEEPER.format(name=method.name, tree=str(method.tree), folder=str(tmp_path), nap=NAP)
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stderr=subprocess.DEVNULL,
        # A shell that starts the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
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
    with pytest.raises(HostNotReady, match=r" here \(no bwrap; no unshare; no proot\); "):
        sandbox.choose(TREE)
    (tmp_path / "unshare").write_text("#!/bin/sh\necho unshare: unshare failed: no >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    with pytest.raises(HostNotReady, match=r"no bwrap; unshare: unshare failed: no; no p"):
        sandbox.choose(TREE)
