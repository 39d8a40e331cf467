"""Descriptions of experiments: what is accepted, and the one line for each mistake."""

import re
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.device.config import DeviceModel
from devmodel.errors import ConfigError, ExitCode
from devmodel.experiment import columns, config
from devmodel.experiment.config import Expect, Experiment, File, Text, Workload
from devmodel.experiment.sweep.axes import Axes
from devmodel.machine.config import Policy

PAGE = paths.GUEST.parent / "docs/experiments.md"
RUN = "workloads: [{command: [dm-info]}]"


def of(workload: str) -> str:
    return f"workloads: [{{{workload}}}]"


# YAML, and the message after the file's name.
MISTAKES = {
    "nothing": ("", "workloads: missing; add it"),
    "no workload": ("workloads: []", "workloads: no workload; name one at least"),
    "unknown key": (
        f"repeats: 3\n{RUN}",
        "repeats: unknown key; did you mean repeat?",
    ),
    "unknown key, far off": (
        f"colour: red\n{RUN}",
        "colour: unknown key; known here: models, kernels, policy, programs, repeat, timeout, "
        "show, sweep, workloads",
    ),
    "unknown key below": (
        of("progam: ./mine"),
        "workloads[0].progam: unknown key; did you mean program?",
    ),
    "unknown key of a file": (
        of("program: ./mine, files: [{hots: x}]"),
        "workloads[0].files[0].hots: unknown key; did you mean host?",
    ),
    "unknown key of what is expected": (
        of("program: ./mine, expect: {exit: 0}"),
        "workloads[0].expect.exit: unknown key; did you mean exit_code?",
    ),
    "unknown model": (
        f"models: [privat]\n{RUN}",
        "models[0]: 'privat' is not known; use 'mirror', 'private', 'coherent', 'numa' or 'cdm'",
    ),
    "no model": (f"models: []\n{RUN}", "models: no model; name one at least"),
    "models no list": (
        f"models: private\n{RUN}",
        "models: 'private' is no list; begin its lines with '- '",
    ),
    "unknown policy": (
        f"policy: lazy\n{RUN}",
        "policy: 'lazy' is not known; use 'in_place' or 'on_touch'",
    ),
    "unknown counter": (
        f"show: [device_fault]\n{RUN}",
        "show: 'device_fault' is no counter; did you mean device_faults?",
    ),
    "unknown counter, far off": (
        f"show: [cycles]\n{RUN}",
        "show: 'cycles' is no counter; docs/counters.md has all",
    ),
    "a counter that goes down": (
        f"show: [page_table_pages]\n{RUN}",
        "show: 'page_table_pages' is no counter; did you mean ",
    ),
    "no repeat": (f"repeat: 0\n{RUN}", "repeat: 0 times is not possible; use 1 to 1000"),
    "no number": (f"repeat: often\n{RUN}", "repeat: 'often' is no whole number; write one like 2"),
    "no repeat of one": (
        of("command: [x], repeat: 1001"),
        "workloads[0].repeat: 1001 times is not possible; use 1 to 1000",
    ),
    "no time": (f"timeout: 0\n{RUN}", "timeout: 0 is no useful limit; use 1 to 604800 seconds"),
    "no time for one": (
        of("command: [x], timeout: -1"),
        "workloads[0].timeout: -1 is no useful limit; use 1 to 604800 seconds",
    ),
    "nothing to run": (
        of("name: x"),
        "workloads[0]: nothing to run; name a program, or a command of the guest",
    ),
    "two things to run": (
        of("program: ./mine, command: [mine]"),
        "workloads[0]: program and command exclude each other; remove one",
    ),
    "a command that is a line": (
        of("command: dm-run sum"),
        "workloads[0].command: 'dm-run sum' is no list; begin its lines with '- '",
    ),
    "numbers for words": (
        of("program: ./mine, args: [4096]"),
        "workloads[0].args[0]: 4096 is no text; put it in quotes",
    ),
    "arguments of a command": (
        of("command: [dm-info], args: [x]"),
        "workloads[0]: args are a program's; write them into command",
    ),
    "no name": (
        of("name: my program, command: [x]"),
        "workloads[0].name: 'my program' is no name; use letters, digits, '.', '_' and '-'",
    ),
    "no name in a path": (
        of("program: ./my program"),
        "workloads[0]: name: missing, and 'my program' is none; add one",
    ),
    "a name twice": (
        "workloads: [{command: [dm-run, sum]}, {command: [dm-run, fill]}]",
        "workloads: two are called 'dm-run'; give one another name",
    ),
    "workloads no list": (
        "workloads: {mine: {program: ./mine}}",
        "workloads: {'mine': {'program': './mine'}} is no list; begin its lines with '- '",
    ),
    "a workload without keys": (
        "workloads: [./mine]",
        "workloads[0]: './mine' has no keys; write them below it, indented",
    ),
    "a file without anything": (
        of("command: [x], files: [{guest: x}]"),
        "workloads[0].files[0]: name either host, a file of this machine, or text",
    ),
    "a file of two": (
        of("command: [x], files: [{host: x, text: kernel-headers}]"),
        "workloads[0].files[0]: name either host, a file of this machine, or text",
    ),
    "a text without a name": (
        of("command: [x], files: [{text: kernel-headers}]"),
        "workloads[0].files[0]: guest: missing; say what the text is to be called",
    ),
    "unknown text": (
        of("command: [x], files: [{text: bible, guest: x}]"),
        "workloads[0].files[0].text: 'bible' is not known; use 'kernel-headers'",
    ),
    "a file that is a number": (
        of("command: [x], files: [5]"),
        "workloads[0].files[0]: 5 has no keys; write them below it, indented",
    ),
    "no exit code": (
        of("command: [x], expect: {exit_code: 256}"),
        "workloads[0].expect.exit_code: 256 is no exit code; use 0 to 255, or same",
    ),
    "an exit code in words": (
        of("command: [x], expect: {exit_code: good}"),
        "workloads[0].expect.exit_code: 'good' is no exit code; use 0 to 255, or same",
    ),
    "an exit code left empty": (
        of("command: [x], expect: {exit_code: }"),
        "workloads[0].expect.exit_code: None is no exit code; use 0 to 255, or same",
    ),
    "output that is a number": (
        of("command: [x], expect: {stdout: 42}"),
        "workloads[0].expect.stdout: 42 is no text; put it in quotes",
    ),
    "output twice": (
        of("command: [x], expect: {stdout: x, stdout_file: x}"),
        "workloads[0].expect: stdout and stdout_file exclude each other; remove one",
    ),
    "neither true nor false": (
        of("command: [x], reports: maybe"),
        "workloads[0].reports: 'maybe' is neither true nor false; write one of them",
    ),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Experiment.load(path)
    said = str(caught.value)
    assert (
        said.startswith(f"{path}: {message}")
        if message.endswith(" ")
        else (said == f"{path}: {message}")
    )
    assert "\n" not in said
    assert caught.value.exit_code is ExitCode.CONFIG


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml:2: "):
        Experiment.load(write(tmp_path, "workloads: [\n"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory; name a "):
        Experiment.load(tmp_path / "none.yaml")


def test_what_is_not_said(tmp_path: Path) -> None:
    experiment = Experiment.load(write(tmp_path, RUN))
    assert experiment.models == tuple(DeviceModel)
    assert experiment.show == columns.SHOWN
    assert (experiment.policy, experiment.programs) == (None, ())
    (workload,) = experiment.workloads
    assert (workload.title, workload.words, workload.put) == ("dm-info", ("dm-info",), ())
    assert (experiment.repeats(workload), experiment.seconds(workload)) == (1, 240.0)
    assert workload.expect == Expect(exit_code=0)


def test_everything_said(tmp_path: Path) -> None:
    text = """
models: [numa, cdm, numa]
policy: on_touch
programs: [a.py, /b.py]
repeat: 2
timeout: 10
workloads:
  - program: bin/mine
    args: ["1", two]
    files: [in.txt, {host: sub/x, guest: y/z}, {text: kernel-headers, guest: t}]
    expect: {exit_code: same, stdout_file: out.txt}
  - {name: other, command: [true], repeat: 5, timeout: 20}
""".replace("[true]", '["true"]')
    experiment = Experiment.load(write(tmp_path, text))
    assert experiment.models == (DeviceModel.NUMA, DeviceModel.CDM)
    assert experiment.policy is Policy.ON_TOUCH
    assert experiment.programs == (tmp_path / "a.py", Path("/b.py"))
    mine, other = experiment.workloads
    assert (mine.title, mine.words) == ("mine", ("./mine", "1", "two"))
    assert [(file.host, str(file.target), file.text) for file in mine.put] == [
        (tmp_path / "bin/mine", "mine", None),
        (tmp_path / "in.txt", "in.txt", None),
        (tmp_path / "sub/x", "y/z", None),
        (None, "t", Text.KERNEL_HEADERS),
    ]
    assert mine.expect.exit_code is None
    assert mine.expect.stdout_file == tmp_path / "out.txt"
    assert (experiment.repeats(mine), experiment.repeats(other), experiment.runs) == (2, 5, 7)
    assert (experiment.seconds(mine), experiment.seconds(other)) == (10.0, 20.0)
    # Of the command line, for all.
    often, short = experiment.limited(3, None), experiment.limited(None, 7)
    assert [often.repeats(item) for item in often.workloads] == [3, 3]
    assert [often.seconds(item) for item in often.workloads] == [10.0, 20.0]
    assert [short.seconds(item) for item in short.workloads] == [7.0, 7.0]
    assert short.runs == 7


def test_expected_lines(tmp_path: Path) -> None:
    assert Expect().lines() is None
    assert Expect(stdout="a\nb").lines() == Expect(stdout="a\nb\n").lines() == [b"a", b"b"]
    assert Expect(stdout="").lines() == []
    (tmp_path / "out").write_bytes(b"\xff\n")
    assert Expect(stdout_file=tmp_path / "out").lines() == [b"\xff"]


def test_some_of_the_workloads() -> None:
    experiment = Experiment.load()
    assert [item.title for item in experiment.chosen(["kv", "bfs", "kv"]).workloads] == [
        "bfs",
        "kv",
    ]
    assert experiment.chosen([]) == experiment


@pytest.mark.parametrize("path", sorted(config.SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_ships_is_good(path: Path) -> None:
    for workload in Experiment.load(path).workloads:
        assert workload.what
        assert workload.reports or path.stem != "workloads"


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for text, missing in (
        ("program: mine", "mine: program: no file"),
        ("command: [x], files: [a, b]", r"x: files\[0\]: no file"),
        ("command: [x], expect: {stdout_file: b}", r"x: expect\.stdout_file: no file"),
    ):
        experiment = Experiment.load(write(tmp_path, of(text)))
        with pytest.raises(ConfigError, match=rf"^e\.yaml: {missing} {tmp_path}/.*; name one"):
            experiment.check_files("e.yaml")
    mine.write_text("x")
    mine.chmod(0o755)
    experiment = Experiment.load(write(tmp_path, of("program: mine")))
    with pytest.raises(ConfigError, match=r"e\.yaml: mine: program: .*mine is neither a Linux"):
        experiment.check_files("e.yaml")
    mine.write_text("#!/bin/sh\n")
    experiment.check_files("e.yaml")


def test_programs_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = config.of_programs([Path("a"), Path("b")], ["1"], same_output=True)
    assert [(item.title, item.program, item.args) for item in experiment.workloads] == [
        ("a", tmp_path / "a", ("1",)),
        ("b", tmp_path / "b", ("1",)),
    ]
    assert all(item.expect.same_output for item in experiment.workloads)
    with pytest.raises(ConfigError, match=r"^--program: workloads: two are called 'a'; "):
        config.of_programs([Path("a"), Path("b/a")], [], same_output=False)


# --- the page


def test_the_examples_of_the_page_are_good(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        Experiment.load(write(tmp_path, text))


def test_the_table_of_the_page_has_every_key() -> None:
    table = PAGE.read_text().partition("| key |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    short = {key.rpartition(".")[2].removesuffix("[]") for key in keys}
    parts = (Experiment, Axes, Workload, File, Expect)
    assert short == {name for part in parts for name in part.model_fields} - {"expect"}
