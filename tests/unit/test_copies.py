"""Copying to and from a guest, whose shell is this machine's here, or sends what it likes."""

import contextlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from devmodel.cli import copy, reach
from devmodel.cli import main as cli
from devmodel.errors import ConfigError, CopyFailed
from devmodel.machine import copies, rundir
from devmodel.machine.rundir import VmInfo
from devmodel.machine.shell import Result

SECONDS = 20.0


class Shell:
    """A guest that is this machine; `sends`, if given, instead of what a tar there would."""

    def __init__(self, sends: bytes | None = None, path: str = "") -> None:
        self.sends = sends
        self.path = path or os.environ["PATH"]

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | int = b"",
        timeout: float,
        stdout: Any = None,
    ) -> Result:
        if self.sends is not None and command[0] == "tar":
            stdout.write(self.sends)
            return Result(0, "", "")
        given = {"stdin": stdin} if isinstance(stdin, int) else {"input": stdin}
        done = subprocess.run(
            list(command),
            capture_output=True,
            timeout=timeout,
            check=False,
            env={"PATH": self.path, "LC_ALL": "C"},
            **given,  # type: ignore[arg-type]
        )
        if stdout is not None:
            stdout.write(done.stdout)
        text = "" if stdout is not None else done.stdout.decode()
        return Result(done.returncode, text, done.stderr.decode())


def put(sources: Sequence[Path], target: Path | str, shell: Shell | None = None) -> int:
    counted = 0

    def advance(count: int) -> None:
        nonlocal counted
        counted += count

    copies.put(shell or Shell(), sources, str(target), timeout=SECONDS, advance=advance)  # type: ignore[arg-type]
    return counted


def get(source: Path | str, target: Path, shell: Shell | None = None) -> None:
    copies.get(shell or Shell(), str(source), target, timeout=SECONDS)  # type: ignore[arg-type]


def tree(folder: Path) -> Path:
    """With modes, links, and names as no file should have."""
    (folder / "deep/er").mkdir(parents=True)
    (folder / "-x y\n").write_bytes(b"odd")
    (folder / "program").write_bytes(os.urandom(200_000))
    (folder / "program").chmod(0o755)
    (folder / "deep/er/secret").write_text("x")
    (folder / "deep/er/secret").chmod(0o600)
    (folder / "deep").chmod(0o750)
    (folder / "link").symlink_to("deep/er/secret")
    os.link(folder / "program", folder / "same")
    return folder


def listing(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what: object = None
        if path.is_symlink():
            what = str(path.readlink())
        elif path.is_file():
            what = (path.read_bytes(), int(status.st_mtime), stat.S_IMODE(status.st_mode))
        else:
            what = stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(folder))] = what
    return found


@pytest.mark.parametrize("way", [put, get], ids=["put", "get"])
def test_a_folder_arrives_as_it_is(way: Callable[..., Any], tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    (tmp_path / "there").mkdir()
    given: Any = [source] if way is put else source
    way(given, tmp_path / "there")
    assert listing(tmp_path / "there/source") == listing(source)
    way(given, tmp_path / "renamed")
    assert listing(tmp_path / "renamed") == listing(source)


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    (tmp_path / "there").mkdir()
    # A tar has a head for each file, and the second name of one costs nothing.
    assert 200_000 < put([source], tmp_path / "there") < copies.size(source)


def test_several_go_into_a_folder_that_is_made(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    put([tmp_path / "a", tmp_path / "b"], tmp_path / "new")
    put([tmp_path / "a"], f"{tmp_path}/other/")
    assert (tmp_path / "new/b").read_text() == "b"
    assert (tmp_path / "other/a").read_text() == "a"


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(ConfigError, match=r"put: no file or folder .*none"):
        copies.size(tmp_path / "none")
    with pytest.raises(CopyFailed, match=r"none/b: no folder .*/none; make it first"):
        put([tmp_path / "a"], tmp_path / "none/b")
    with pytest.raises(CopyFailed, match=r"none: no such file or folder"):
        get(tmp_path / "none", tmp_path)
    with pytest.raises(ConfigError, match=r"get: no folder .*/none; make it first"):
        get(tmp_path / "a", tmp_path / "none/b")
    with pytest.raises(CopyFailed, match="/: this is everything: name a file"):
        get("/", tmp_path)


def test_a_guest_that_refuses_says_why(tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    # It has read a part by then, and nobody reads the rest.
    (fake / "tar").write_text(
        "#!/bin/sh\nhead -c 1000 >/dev/null\necho No space left >&2\nexit 1\n"
    )
    (fake / "tar").chmod(0o755)
    shell = Shell(path=f"{fake}:{os.environ['PATH']}")
    (tmp_path / "large").write_bytes(bytes(4 << 20))
    with pytest.raises(CopyFailed, match="the guest says: No space left"):
        put([tmp_path / "large"], tmp_path / "x", shell)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all")
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/locked").touch(0)
    with pytest.raises(CopyFailed, match=r"locked: Permission denied"):
        put([tmp_path / "a"], tmp_path / "b")


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """A tar archive of (name, type, what it links to)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, link, 0o6777
            data = b"hostile" if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


HOSTILE = {
    "absolute": [("/evil", tarfile.REGTYPE, "")],
    "above": [("top/../../evil", tarfile.REGTYPE, "")],
    "beside what was asked for": [("evil", tarfile.REGTYPE, "")],
    "above by a dot": [("./../evil", tarfile.REGTYPE, "")],
    "as a link": [("top", tarfile.SYMTYPE, ".."), ("top/evil", tarfile.REGTYPE, "")],
    "by a link": [("top", tarfile.DIRTYPE, ""), ("top/l", tarfile.SYMTYPE, ".."),
                  ("top/l/l2", tarfile.SYMTYPE, ".."), ("top/l/l2/evil", tarfile.REGTYPE, "")],
}  # fmt: skip


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_what_was_not_asked_for_does_not_arrive(
    members: list[tuple[str, bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "top").touch()
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    (tmp_path / "a/beside").write_text("mine")
    with pytest.raises(CopyFailed):
        get(tmp_path / "top", inner, Shell(archive(*members)))
    outside = [path for path in tmp_path.rglob("evil") if inner / "top" not in path.parents]
    assert not outside and not Path("/evil").exists()
    assert (tmp_path / "a/beside").read_text() == "mine"


def test_what_is_no_file_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "top").touch()
    (tmp_path / "out").mkdir()
    sent = archive(
        ("top", tarfile.DIRTYPE, ""),
        ("top/node", tarfile.CHRTYPE, ""),
        ("top/passwd", tarfile.SYMTYPE, "/etc/passwd"),
        ("top/program", tarfile.REGTYPE, ""),
    )
    with pytest.raises(CopyFailed, match="copied, but for top/node, top/passwd"):
        get(tmp_path / "top", tmp_path / "out", Shell(sent))
    assert [path.name for path in (tmp_path / "out/top").iterdir()] == ["program"]
    # Nobody else's program becomes one that runs as its owner here.
    assert stat.S_IMODE((tmp_path / "out/top/program").stat().st_mode) == 0o777


def test_noise_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "top").touch()
    with pytest.raises(CopyFailed, match="the guest sent no archive"):
        get(tmp_path / "top", tmp_path / "out", Shell(os.urandom(100_000)))
    assert not (tmp_path / "out").exists()


def running(*names: str) -> Callable[[], list[tuple[Path, VmInfo]]]:
    return lambda: [(Path("/vms") / name, VmInfo(name, 1, "running")) for name in names]


def test_the_first_word_is_a_guest_if_one_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "everything", running("second"))
    assert copy._split(["a", "b"], most=None) == (None, ["a", "b"])
    assert copy._split(["second", "a", "b"], most=None) == ("second", ["a", "b"])
    assert copy._split(["./second", "a", "b"], most=None) == (None, ["./second", "a", "b"])
    assert copy._split(["third", "a", "b"], most=3) == ("third", ["a", "b"])
    for words, most in ((["a"], None), (["a", "b", "c", "d"], 3)):
        with pytest.raises(ConfigError, match="do not say what goes where"):
            copy._split(words, most=most)


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = running("one")
    monkeypatch.setattr(rundir, "everything", everything)
    monkeypatch.setattr(rundir, "running", lambda _: everything()[0])
    monkeypatch.setattr(reach, "shell", lambda *_: contextlib.nullcontext(Shell()))
    source = tree(tmp_path / "source")
    assert cli.main(["put", str(source), str(tmp_path / "there"), "--json"]) == 0
    assert '"guest": "one"' in capsys.readouterr().out
    assert cli.main(["get", "one", str(tmp_path / "there"), str(tmp_path / "back")]) == 0
    assert listing(tmp_path / "back") == listing(source)
    assert cli.main(["put", str(tmp_path / "none"), "/tmp"]) == 2
    assert cli.main(["get", str(tmp_path / "none"), "x"]) == 1
    assert capsys.readouterr().err.count("\n") >= 2
