"""The command line: words, exit codes, what goes to stdout and what to stderr."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devmodel.build import guest, source
from devmodel.build.config import KernelConfig
from devmodel.build.guest import Built
from devmodel.build.kernel import Kernel
from devmodel.cli import main as cli
from devmodel.errors import BuildFailed, ExitCode
from devmodel.machine import host
from devmodel.machine.host import Check, Verdict

COMMANDS = (
    "doctor",
    "kernels",
    "build",
    "run",
    "start",
    "stop",
    "ps",
    "exec",
    "ssh",
    "logs",
    "demo",
    "compare",
    "probe",
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is built, nothing is looked at."""
    kernel = Kernel(Path("/k/bzImage"), Path("/k/vmlinux"), Path("/k/build"), "6.1.0", "id")
    done = Built(kernel, None, [], Path("/k/initrd"))
    monkeypatch.setattr(guest, "build", lambda *_: done)


def usage_error(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(["--help"]) == 0
    text = capsys.readouterr().out
    assert "$ devmodel run private -- dmesg" in text
    assert "exit codes:" in text
    for command in COMMANDS:
        assert command in text


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    usage_error(["--help"])
    text = capsys.readouterr().out.partition("exit codes:")[2]
    for code in ExitCode:
        assert f"{code.value} " in text, code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: devmodel {command}")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["run"], "the following arguments are required: CONFIG"),
        (["run", "mirror", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["doctor", "--", "ls"], "doctor takes no command after --"),
        (["compare", "--jobs", "0"], "'0' is no number from 1 on"),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(arguments) == 2
    shown = capsys.readouterr()
    assert complaint in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["run", "xyz"],
            "devmodel: xyz: no such file or shipped description; shipped are cdm, debug-kernel, ",
        ),
        (
            ["run", "mirror", "--programs", "/none.py"],
            "devmodel: programs: no file /none.py; name a Python file",
        ),
        (
            ["run", "mirror", "--kernel", "/none"],
            "devmodel: kernel.tree: no folder /none; name a kernel source tree, or one of the "
            "series 6.1, 7.2",
        ),
        (
            ["run", "mirror", "--qemu-opts", "'x"],
            "devmodel: --qemu-opts: No closing quotation; balance the quotes",
        ),
        (
            ["start", "mirror", "--name", "A b"],
            "devmodel: --name: 'A b' is no name; use lower-case letters, digits and '-'",
        ),
        (
            ["demo", "--models", "private,cdm"],
            "devmodel: no model 'cdm'; there are mirror, private, coherent",
        ),
        (["compare", "--models", "privat"], "devmodel: no model 'privat'; did you mean private?"),
        (["compare", "--models", ""], "devmodel: no model ''; there are mirror, private, "),
        (["compare", "strem"], "devmodel: no workload 'strem'; did you mean stream?"),
        (["start", "mirror", "--gdb"], "devmodel: start does not wait for a debugger; "),
        (["exec", "--", "true"], "devmodel: no VM is running; devmodel start starts one"),
        (["exec", "x", "--", "true"], "devmodel: no running VM is called x; "),
        (["exec"], "devmodel: exec: no command; write it after --, or use devmodel ssh"),
        (["ssh"], "devmodel: no VM is running; devmodel start starts one"),
        (["stop"], "devmodel: no VM is running; devmodel start starts one"),
        (["logs"], "devmodel: no VM was started yet; devmodel start starts one"),
        (["logs", "x"], "devmodel: no VM was called x; see devmodel ps -a"),
    ],
)
def test_a_users_mistake_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == ExitCode.CONFIG
    shown = capsys.readouterr()
    assert shown.err.startswith(line)
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.usefixtures("built")
def test_dry_run_prints_one_line_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "private", "--dry-run", "--append", "a=1 b=2", "--qemu-opts", "-d int"]
    assert cli.main([*arguments, "--", "ls", "-l"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    words = shlex.split(out)
    assert words[0] == "qemu-system-x86_64"
    assert words[words.index("-append") + 1].endswith("a=1 b=2")
    assert words[-2:] == ["-d", "int"]


@pytest.mark.usefixtures("built")
def test_build_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernel"] == "/k/bzImage"


@pytest.mark.parametrize(
    ("config", "wanted", "expected"),
    [
        ("private", [], KernelConfig()),
        ("private", ["--kernel", "7.2"], KernelConfig(series="7.2")),
        ("debug-kernel", ["--kernel", "7.2"], KernelConfig(series="7.2", debug=True)),
        ("private", ["--kernel", "/usr"], KernelConfig(tree=Path("/usr"))),
    ],
)
def test_kernel_is_a_series_or_a_tree(
    config: str, wanted: list[str], expected: KernelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[KernelConfig] = []
    kernel = Kernel(Path("/k/bzImage"), Path("/k/vmlinux"), Path("/k/build"), "7.2.0", "id")

    def build_it(config: KernelConfig, _: object) -> Built:
        asked.append(config)
        return Built(kernel, None, [], Path("/k/initrd"))

    monkeypatch.setattr(guest, "build", build_it)
    assert cli.main(["run", config, "--dry-run", *wanted]) == 0
    assert asked == [expected]


def test_the_kernels_that_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(source, "INSTALLED", tmp_path)
    (tmp_path / "linux-source-6.1.tar.xz").write_text("x")
    assert cli.main(["kernels", "--json"]) == 0
    old, new = json.loads(capsys.readouterr().out)["kernels"]
    assert (old["series"], old["suite"], old["image"]) == ("6.1", None, None)
    assert old["version"]
    assert (new["series"], new["suite"], new["version"]) == ("7.2", "trixie-backports", None)
    assert (old["whole_thp"], new["whole_thp"]) == (False, True)
    assert cli.main(["kernels"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in lines] == [8, 7, 7]
    assert lines[2] == ["7.2", "linux-source-7.2", "trixie-backports", "-", "no", "76", "yes"]


def test_details_come_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise BuildFailed("kernel: make ended with 2", hint="see log", details="x.c:1: error")

    monkeypatch.setattr(guest, "build", fail)
    assert cli.main(["build"]) == ExitCode.BUILD
    assert capsys.readouterr().err == "devmodel: kernel: make ended with 2; see log\n"
    assert cli.main(["build", "-v"]) == ExitCode.BUILD
    assert "x.c:1: error" in capsys.readouterr().err


def test_ps_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def checks(verdict: Verdict) -> list[Check]:
    return [Check("qemu", verdict, "7.2.22", "" if verdict is Verdict.OK else "apt-get ...")]


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.OK, 0), (Verdict.NOTE, 0), (Verdict.FAIL, ExitCode.HOST)]
)
def test_doctor_is_0_only_if_ready(
    verdict: Verdict,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(host, "check_all", lambda: checks(verdict))
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().out == ""
    assert cli.main(["doctor", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["ready"] == (code == 0)
    assert found["checks"][0]["name"] == "qemu"


def test_no_colour_without_a_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devmodel.cli.main", "run", "nowhere"],
        capture_output=True,
        env={**os.environ, "TERM": "xterm-256color"},
        check=False,
    )
    assert done.returncode == ExitCode.CONFIG
    assert b"\x1b" not in done.stderr
    assert done.stdout == b""
