"""A program of somebody's own under several models, as a person or a script runs it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from devmodel import paths
from devmodel.build import tree
from devmodel.experiment import job
from devmodel.experiment.config import Experiment, File, Workload
from devmodel.machine import Machine
from devmodel.progress import Reporter

OWN = Path(__file__).parent / "own"
GUEST = paths.GUEST
COUNT = 8192
SUM = 3 * COUNT * (COUNT - 1) // 2
PAGES = COUNT * 8 // 4096
SECONDS = 360

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as anybody would, with the compiler of the tools tree."""
    folder = tmp_path_factory.mktemp("mine")
    tree.obtain(Reporter()).run(
        [
            *("gcc", "-O2", "-static", "-pthread", "-I", GUEST, "-I", GUEST / "uapi"),
            *("-o", folder / "mine"),
            *(OWN / "mine.c", GUEST / "lib/libdevmodel.c"),
        ],
        what="own program",
        log=folder / "log",
        folders=[OWN, GUEST, folder],
    )
    return folder / "mine"


Compare = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def devmodel_compare(no_vm: object) -> Compare:
    """`devmodel compare --json`: exit code, rows, and what went to stderr."""
    del no_vm

    def run(*words: str | Path) -> tuple[int, list[dict[str, Any]], str]:
        command = [sys.executable, "-m", "devmodel.cli.main", "compare", "--json"]
        command += ["--programs", str(OWN / "triple.py"), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        rows = json.loads(done.stdout)["results"] if done.stdout else []
        return done.returncode, rows, done.stderr

    return run


def test_a_program_under_two_models(devmodel_compare: Compare, mine: Path) -> None:
    code, rows, said = devmodel_compare(
        *("--program", mine, "--models", "mirror,private", "--policy", "on_touch"),
        *("--repeat", "2", "--same-output", "--", str(COUNT)),
    )
    assert code == 0, said
    assert [(row["workload"], row["model"], row["run"]) for row in rows] == [
        ("mine", "mirror", 1),
        ("mine", "mirror", 2),
        ("mine", "private", 1),
        ("mine", "private", 2),
    ]
    for row in rows:
        assert (row["checked"], row["exit_code"], row["why"]) == (True, 0, "")
        assert row["policy"] == "on_touch"
        assert row["programs"] == 1
        assert row["device_faults"] > 0
        assert row["wall_seconds"] > 0
        moved = row["model"] == "private"
        # It begins at no page's beginning.
        assert PAGES <= row["pages_to_device"] <= PAGES + 1 if moved else not row["pages_to_device"]
        # The CPU looks at all of it.
        assert bool(row["cpu_faults"]) == moved
        assert bool(row["remote_bytes"]) == (not moved)
    assert rows[-1]["device_lost"] == "SIGBUS"


def test_what_differs_is_named(devmodel_compare: Compare, mine: Path, tmp_path: Path) -> None:
    """In one file: a crash under one model, output that differs, and one that is as it should."""
    file = tmp_path / "own.yaml"
    file.write_text(f"""
models: [mirror, private]
workloads:
  - {{name: crash, program: {mine}, args: ["{COUNT}", crash]}}
  - {{name: model, program: {mine}, args: ["{COUNT}", model], expect: {{same_output: true}}}}
  - {{name: right, program: {mine}, args: ["{COUNT}"], expect: {{stdout: "{SUM}"}}}}
""")
    code, rows, said = devmodel_compare(file)
    assert code == 1
    why = {(row["workload"], row["model"]): row["why"] for row in rows}
    assert why["crash", "private"] == "ended with 134 (SIGABRT), not 0: it said nothing"
    assert why["model", "private"] == (
        "printed something else than in run 1 under mirror: line 2 is 'private', not 'mirror'"
    )
    assert [key for key, words in why.items() if words] == [
        ("crash", "private"),
        ("model", "private"),
    ]
    for key, words in why.items():
        assert (f"{key[1]}: {key[0]}: {words}" in said.splitlines()) == bool(words)
    # In place, where nothing else is said.
    assert not any(row["pages_to_device"] for row in rows)


SCRIPT = """\
#!/bin/sh
read -r line <input/text && echo "$line $*"
ls
touch left-behind
"""


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_script_finds_its_files_in_a_fresh_folder(vm: Machine, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPT)
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "words").write_text("from the host\n")
    file = tmp_path / "own.yaml"
    file.write_text("""
workloads:
  - program: script
    args: ["a  b", "*"]
    files: [{host: words, guest: input/text}]
    expect: {stdout: "from the host a  b *\\ninput\\nscript"}
""")
    (workload,) = Experiment.load(file).workloads
    for _ in range(2):
        ran = job.run(vm, workload, seconds=60, texts={})
        assert ran.why == ""
        # It has nothing to do with the device, and neither has who counts.
        assert not any(asdict(ran.result.counted).values())
    assert "script" not in vm.run(["ls", "/tmp"]).stdout


def of(*command: str) -> Workload:
    return Workload(name="own", command=command)


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_run_that_takes_too_long(vm: Machine) -> None:
    with pytest.raises(job.JobFailed, match="did not end within 1 s; it was killed"):
        job.run(vm, of("sleep", "1000"), seconds=1, texts={})
    assert vm.run("ps | grep '[s]leep 1000'").stdout == ""
    assert job.run(vm, of("sleep", "0"), seconds=60, texts={}).why == ""


@pytest.mark.parametrize("config", ["private"], indirect=True)
@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "kill -SEGV $$"], "ended with 139 (SIGSEGV), not 0: it said nothing"),
        (["sh", "-c", "echo a; echo b >&2; exit 9"], "ended with 9, not 0: b"),
    ],
)
def test_why_a_command_failed(vm: Machine, command: list[str], why: str) -> None:
    assert job.run(vm, of(*command), seconds=60, texts={}).why == why


@pytest.mark.parametrize("config", ["private"], indirect=True)
@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("nothing", "nothing: No such file or directory"),
        ("/tmp", "/tmp: Permission denied"),
        ("./script", "./script: what it is to be run by is not in this guest"),
    ],
)
def test_why_a_program_cannot_be_run(vm: Machine, tmp_path: Path, words: str, why: str) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/python3\n")
    script.chmod(0o755)
    workload = Workload(name="own", command=(words,), files=(File(host=script),))
    with pytest.raises(job.JobFailed) as caught:
        job.run(vm, workload, seconds=60, texts={})
    assert caught.value.message == f"could not be run: dm-stats: {why}"


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_counters_over_a_command(vm: Machine) -> None:
    """By hand, for people and for machines."""
    command = "dm-stats {} -- dm-run fill @1048576 131072 7"
    shown = vm.run(command.format("")).check()
    assert shown.stdout.startswith("fill: ")
    lines = dict(line.split(None, 1) for line in shown.stderr.splitlines())
    assert lines["exit_code"] == "0"
    assert lines["programs"] == "1 programs"
    assert lines["wall_seconds"].endswith(" s")
    vm.run(command.format("--json --output /tmp/counts")).check()
    counts = json.loads(vm.run(["cat", "/tmp/counts"]).check().stdout)
    # Only this one's.
    assert (counts["programs"], counts["exit_code"], counts["mirrors"]) == (1, 0, 0)
    assert counts["remote_bytes_written"] == 1 << 20
    whole = json.loads(vm.run(["dm-stats", "--json"]).check().stdout)
    assert whole["programs"] == 2
    assert whole.items() >= {"mirrors": 0, "page_table_pages": 0}.items()


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_the_most_hbm_that_was_seen(vm: Machine) -> None:
    """After the program it is free again."""
    command = ["dm-stats", "--json", "--output", "/tmp/counts", "--", "patterns", "stream"]
    said = json.loads(vm.run(command).check().stdout)
    counts = json.loads(vm.run(["cat", "/tmp/counts"]).check().stdout)
    assert counts["hbm_bytes_in_use"] == said["hbm_bytes_in_use"] > 0
    assert json.loads(vm.run(["dm-stats", "--json"]).check().stdout)["hbm_bytes_in_use"] == 0


@pytest.mark.parametrize("config", ["numa", "cdm"], indirect=True)
def test_memory_of_a_program_that_knows_nothing_of_it(vm: Machine) -> None:
    pages = "grep ' N1=' /proc/self/numa_maps"
    # Nothing of it lies there by itself.
    assert job.run(vm, of("sh", "-c", pages), seconds=60, texts={}).exit_code == 1
    ran = job.run(vm, of("dm-membind", "sh", "-c", pages), seconds=60, texts={})
    assert (ran.exit_code, ran.why) == (0, "")
    assert ran.output is not None
    assert any(b" bind:1 " in line for line in ran.output.lines)


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_memory_that_is_no_node(vm: Machine) -> None:
    assert job.run(vm, of("dm-membind", "true"), seconds=60, texts={}).why == (
        "ended with 125, not 0: dm-membind: the device's memory is no NUMA node here (see dm-info)"
    )


@pytest.mark.usefixtures("no_vm")
def test_ctrl_c_keeps_what_is_finished(mine: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    command = [sys.executable, "-m", "devmodel.cli.main", "compare", "--json", "--csv", file]
    command += ["--models", "mirror,private", "--programs", OWN / "triple.py", "--program", mine]
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stderr is not None
    assert any("private: booting" in line for line in run.stderr)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=SECONDS)
    assert run.returncode == 128 + signal.SIGINT
    assert [row["model"] for row in json.loads(out)["results"]] == ["mirror"]
    assert len(file.read_text().splitlines()) == 2
