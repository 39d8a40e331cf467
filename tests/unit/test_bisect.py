"""`run --bisect`: what `git bisect run` is told, by a git of its own and a kernel that is none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devmodel.build import command
from devmodel.cli import bisect
from devmodel.cli import main as cli
from devmodel.cli import run as run_command
from devmodel.errors import (
    BootTimeout,
    BuildFailed,
    CommandTimeout,
    ConfigError,
    DeviceLost,
    DevmodelError,
    GuestHang,
    GuestOops,
    GuestPanic,
    HostNotReady,
    KernelBroken,
    KernelUnfit,
    LaunchFailed,
    MachineLost,
)

GOOD, BAD, SKIP = 0, 1, 125


def tree(folder: Path) -> Path:
    """As far as a command line looks at one."""
    folder.mkdir(exist_ok=True)
    for name in ("Kconfig", "Makefile"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("code", "means"),
    [(0, GOOD), (1, 1), (124, 124), (125, BAD), (139, BAD), (255, BAD), (126, 254), (127, 255)],
)
def test_what_a_command_ended_with(code: int, means: int) -> None:
    assert bisect.of_command(code) == means


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (KernelBroken("x"), SKIP),
        (KernelUnfit("x"), SKIP),
        (GuestPanic("x"), BAD),
        (GuestOops("x"), BAD),
        (GuestHang("x"), BAD),
        (BootTimeout("x"), BAD),
        (CommandTimeout("x"), BAD),
    ],
)
def test_what_an_error_says_of_the_kernel(error: DevmodelError, means: int) -> None:
    assert bisect.of_error(error) == means


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("no such description"),
        HostNotReady("no QEMU"),
        BuildFailed("guest programs"),
        LaunchFailed("QEMU ended"),
        DeviceLost("the agent"),
        MachineLost("QEMU was killed"),
    ],
)
def test_what_is_not_the_kernels_doing_ends_the_bisection(error: DevmodelError) -> None:
    assert 128 <= bisect.of_error(error) <= 255


def fails(error: Exception) -> Callable[..., int]:
    def work(*_: object, **__: object) -> int:
        raise error

    return work


def test_a_mistake_of_anybodys_says_nothing_of_a_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    linux = str(tree(tmp_path / "linux"))
    for words in (
        ["run", linux, "--bisect", "--nonsense", "--", "true"],
        ["run", linux, "--bisect"],
        ["run", "private", "--bisect", "--", "true"],
        ["run", "none", "--bisect", "--", "true"],
        ["run", linux, "--kernel", "7.2", "--bisect", "--", "true"],
    ):
        assert cli.main(words) > 127, words
    capsys.readouterr()
    monkeypatch.setattr(run_command, "Machine", fails(ZeroDivisionError("a bug")))
    assert cli.main(["run", linux, "--bisect", "--", "true"]) == 255
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_tree_stands_for_the_machine_and_is_made_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux, configs = tree(tmp_path / "linux"), []

    def machine(config: object, **_: object) -> None:
        configs.append(config)
        raise KernelBroken("no")

    monkeypatch.setattr(run_command, "Machine", machine)
    assert cli.main(["run", str(linux), "--bisect", "--", "true"]) == SKIP
    assert cli.main(["run", "private", "--kernel", str(linux), "--", "true"]) == 4
    for config, make in zip(configs, (True, False), strict=True):
        assert config.kernel.tree == linux
        assert config.kernel.make is make
        assert [device.model.value for device in config.devices] == ["private"]


@pytest.mark.parametrize("symptom", list(command.HOST_FAILURES))
def test_a_build_that_this_machine_fails_is_not_the_kernels(symptom: str, tmp_path: Path) -> None:
    script = ["sh", "-c", f"echo 'x.c: fatal error: {symptom}'; exit 2"]
    with pytest.raises(HostNotReady):
        command.run(script, what="the kernel", log=tmp_path / "log")


# A kernel of one file, which has what is wrong with it in its text; its guest fails the test
# where that is "bug".
JUDGE = """
import sys
from pathlib import Path
from devmodel.cli import main, run
from devmodel.errors import HostNotReady, KernelBroken, KernelUnfit
from devmodel.machine.shell import Result

text = Path("mm/migrate.c").read_text()

class Machine:
    def __init__(self, config, **_):
        assert config.kernel.tree == Path.cwd() and config.kernel.make

    def __enter__(self):
        for error in (KernelBroken, KernelUnfit, HostNotReady):
            if error.__name__ in text:
                raise error("for the test")
        return self

    def __exit__(self, *_):
        pass

    def run(self, words, **_):
        return Result(int("bug" in text), "", "")

run.Machine = Machine
sys.exit(main.main(["run", ".", "--bisect", "--", "dm-test-migrate"]))
"""


def history(folder: Path, *texts: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A git repository with a commit for each of mm/migrate.c's `texts`; git, in it."""
    linux = tree(folder / "linux")
    (linux / "mm").mkdir()
    identity = {
        f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["git", *words], cwd=linux, env=environment, capture_output=True, text=True, check=False
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done

    git("init", "-q")
    for number, text in enumerate(texts):
        (linux / "mm/migrate.c").write_text(f"{number} {text}\n")
        git("add", "-A")
        git("commit", "-q", "-m", f"commit {number}")
    git("bisect", "start", "HEAD", f"HEAD~{len(texts) - 1}")
    return git


def test_git_finds_the_commit_past_those_that_cannot_be_tested(tmp_path: Path) -> None:
    # Those in the middle are where git looks first.
    texts = ["", "", "", "KernelUnfit", "KernelBroken", "", "bug", "bug", "bug"]
    git = history(tmp_path, *texts)
    said = git("bisect", "run", sys.executable, "-c", JUDGE).stdout
    assert "is the first bad commit" in said
    assert "    commit 6\n" in said
    assert "skip" in git("bisect", "log").stdout


def test_a_machine_that_fails_ends_the_bisection(tmp_path: Path) -> None:
    git = history(tmp_path, "", "", "HostNotReady", "bug", "bug")
    done = git("bisect", "run", sys.executable, "-c", JUDGE, code=None)
    assert done.returncode and "first bad commit" not in done.stdout
    assert "131" in done.stdout + done.stderr
