"""The command line: words, exit codes, what goes to stdout and what to stderr."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devmodel.build import guest
from devmodel.build.config import NAMED, KernelConfig
from devmodel.build.emulator import Emulator
from devmodel.build.guest import Built
from devmodel.build.kernel import Kernel
from devmodel.build.tools import HostTools
from devmodel.build.tree import Tree
from devmodel.cli import compare
from devmodel.cli import main as cli
from devmodel.device.config import DeviceModel
from devmodel.errors import BuildFailed, ExitCode
from devmodel.experiment.config import SHIPPED, Experiment
from devmodel.machine import host
from devmodel.machine.config import Policy
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
    "top",
    "put",
    "get",
    "cc",
    "demo",
    "report",
    "trace",
    "compare",
    "sweep",
    "probe",
    "hmm-tests",
    "check",
    "cache",
)


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """What the command line has, whatever anybody says that it has."""
    (action,) = (
        action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(action.choices)


def test_every_command_is_known_here() -> None:
    assert sorted(subcommands()) == sorted(COMMANDS)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))


KERNEL = Kernel(
    image=Path("/k/bzImage"),
    vmlinux=None,
    build=Path("/k/build"),
    config=Path("/k/config"),
    release="7.2.0",
    identity="id",
    modules=(),
    tools=HostTools(),
    headers=Path("/k/build"),
)
QEMU = Emulator(("qemu-system-x86_64",), (7, 2), "host")
BUILT = Built(KERNEL, None, [], Path("/k/initrd"), QEMU, Tree(Path("/t"), None))  # type: ignore[arg-type]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is built, nothing is looked at."""
    monkeypatch.setattr(guest, "build", lambda *_, **__: BUILT)


def usage_error(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_speaks_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """cc alone has gcc's options, and says so."""
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--json" in capsys.readouterr().out


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(["--help"]) == 0
    text = capsys.readouterr().out
    assert "$ devmodel run private -- dmesg" in text
    assert "exit codes:" in text
    # Each with a line of its own, and words about it; examples do not count.
    listed = text.partition("positional arguments:")[2].partition("options:")[0]
    assert sorted(re.findall(r"^    (\S+)\s+\S", listed, re.MULTILINE)) == sorted(COMMANDS)


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    usage_error(["--help"])
    text = capsys.readouterr().out.partition("exit codes:")[2]
    # In columns: a number and its meaning.
    named = [int(code) for code in re.findall(r"(?:^| {2,})(\d+) \S", text, re.MULTILINE)]
    assert sorted(named) == sorted(code.value for code in ExitCode)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: devmodel {command}")
    assert f"\n  $ devmodel {command}" in text.partition("\nexamples:")[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["run"], "the following arguments are required: CONFIG"),
        (["run", "mirror", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["doctor", "--", "ls"], "doctor takes no command after --"),
        (["compare", "--jobs", "0"], "'0' is no number from 1 on"),
        (["run", "private", "--policy", "touch"], "invalid choice: 'touch'"),
        (["compare", "--repeat", "none"], "'none' is no number from 1 on"),
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
            "series 7.2, 7.3, 7.2-own, 6.1-own",
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
        (["compare", "none.yaml"], "devmodel: none.yaml: No such file or directory; name a "),
        (["compare", "a.yaml", "b.yml"], "devmodel: b.yml: a second experiment file; name one "),
        (
            ["compare", "--program", "/none"],
            "devmodel: --program: none: program: no file /none; name one that is there",
        ),
        (
            ["compare", "--program", sys.executable],
            f"devmodel: --program: {Path(sys.executable).name}: program: {sys.executable} is "
            "dynamically linked, and guests have no libraries for it; link it with -static",
        ),
        (
            ["compare", "kv", "--program", "/none"],
            "devmodel: --program and 'kv' exclude each other; write arguments of the program ",
        ),
        (
            ["compare", str(SHIPPED / "sizes.yaml")],
            f"devmodel: {SHIPPED}/sizes.yaml: has a sweep; devmodel sweep {SHIPPED}/sizes.yaml ",
        ),
        (["sweep", "none.yaml"], "devmodel: none.yaml: No such file or directory; name a "),
        (["sweep", "none"], "devmodel: none: No such file or directory; name a readable file"),
        (
            ["sweep", "sizes", "--jobs", "2", "--scheduler", "tcp://x:1"],
            "devmodel: --jobs and --scheduler exclude each other; workers have --nthreads",
        ),
        (["sweep", "sizes", "-o", "/no/x"], "devmodel: -o /no/x: no folder /no; name another file"),
        (["compare", "--", "1"], "devmodel: arguments after --, and no --program; name the "),
        (["compare", "--same-output"], "devmodel: --same-output is for a --program; write "),
        (
            ["compare", "kv", "--programs", "/none.py"],
            "devmodel: programs: no file /none.py; name a Python file",
        ),
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
    arguments += ["--policy", "on_touch"]
    assert cli.main([*arguments, "--", "ls", "-l"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    words = shlex.split(out)
    assert words[0] == "qemu-system-x86_64"
    append = words[words.index("-append") + 1]
    assert "devmodel.policy=on_touch" in append.split()
    assert append.endswith("a=1 b=2")
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

    def build_it(config: KernelConfig, *_: object, **__: object) -> Built:
        asked.append(config)
        return BUILT

    monkeypatch.setattr(guest, "build", build_it)
    assert cli.main(["run", config, "--dry-run", *wanted]) == 0
    assert asked == [expected]


def test_the_kernels_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernels", "--json"]) == 0
    found = {kernel["name"]: kernel for kernel in json.loads(capsys.readouterr().out)["kernels"]}
    assert list(found) == list(NAMED)
    assert [name for name, kernel in found.items() if kernel["default"]] == ["7.2"]
    kinds = {name: kernel["kind"] for name, kernel in found.items()}
    assert kinds["7.2"] == "stock"
    assert kinds["6.1-own"] == "own"
    assert (kinds["cdm"], kinds["6.1-debug"]) == ("patched", "debug")
    for kernel in found.values():
        assert (kernel["state"], kernel["bytes"], kernel["version"]) == ("none", 0, None)
        assert ("cdm" in kernel["models"]) == (kernel["kind"] == "patched")
    assert (found["6.1-own"]["hmm_tests"], found["7.2"]["hmm_tests"]) == (58, 74)
    assert cli.main(["kernels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(found)
    assert lines[1].split() == ["7.2", "*", "stock", "7.2,", "newest", "no", "-", "74", "yes", "no"]


def test_a_kernel_that_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "cdm", "--kernel", "7.3", "--dry-run"]) == ExitCode.CONFIG
    assert capsys.readouterr().err == (
        "devmodel: --kernel 7.3: cdm is built from source, and there is none of 7.3; "
        "use one of 7.2-own, 6.1-own\n"
    )


def test_details_come_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
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


@pytest.mark.parametrize("words", [["ps"], ["kernels"], ["ps", "--json"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_trouble(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "devmodel.cli.main", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.OK, b"")


def asked(*words: str) -> Experiment:
    """The experiment that `devmodel compare` makes of these words."""
    arguments, _, command = cli._split(["compare", *words])
    options = cli.parser().parse_args(arguments)
    options.guest_command = command
    return compare.experiment(options)


def test_compare_runs_what_ships_if_nothing_is_said() -> None:
    assert asked() == Experiment.load()
    assert [item.title for item in asked("kv", "--models", "numa").workloads] == ["kv"]
    assert asked("kv", "--models", "numa,mirror").models == (DeviceModel.NUMA, DeviceModel.MIRROR)


def test_compare_runs_a_program_with_its_arguments(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    experiment = asked(
        *("--program", str(mine), "--programs", "triple.py", "--policy", "on_touch"),
        *("--repeat", "3", "--timeout", "7", "--same-output", "--", "-n", "7", "--", "x"),
    )
    (workload,) = experiment.workloads
    assert (workload.program, workload.args) == (mine, ("-n", "7", "--", "x"))
    assert workload.expect.same_output
    assert (experiment.repeats(workload), experiment.seconds(workload)) == (3, 7.0)
    assert experiment.programs == (Path.cwd() / "triple.py",)
    assert experiment.policy is Policy.ON_TOUCH


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "models: [cdm]\npolicy: on_touch\nprograms: [a.py]\nrepeat: 4\n"
        "workloads: [{command: [dm-info], repeat: 9}, {command: [dm-run]}]\n"
    )
    (tmp_path / "a.py").write_text("")
    words = (str(file), "dm-info", "--models", "private", "--policy", "in_place", "--repeat", "2")
    experiment = asked(*words, "--programs", "/b.py")
    assert [item.title for item in experiment.workloads] == ["dm-info"]
    assert experiment.models == (DeviceModel.PRIVATE,)
    assert (experiment.policy, experiment.runs) == (Policy.IN_PLACE, 2)
    assert experiment.programs == (tmp_path / "a.py", Path("/b.py"))
    kept = asked(str(file))
    assert (kept.models, kept.policy) == ((DeviceModel.CDM,), Policy.ON_TOUCH)
    assert kept.runs == 9 + 4


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
