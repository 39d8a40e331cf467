"""`devmodel sweep`, with cells that are none: what is run, kept, named, and in the table."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_cells
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from devmodel.cli import main as cli
from devmodel.errors import ConfigError, ExitCode
from devmodel.experiment.config import Experiment
from devmodel.experiment.sweep import place, store, sweep, table

SECONDS = 60.0
GRID = """
models: [mirror, private]
sweep: {policies: [in_place, on_touch], sizes: [4K, 8K, 16K], seeds: 2}
"""
RIGHT = GRID + "workloads: [{name: mine, command: [right, '{size}', '{seed}']}]"
CELLS = 24


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv(fake_cells.LOG, str(tmp_path / "log"))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def ended() -> Counter[str]:
    """How often each cell did."""
    return Counter(line.removeprefix("end ") for line in fake_cells.log() if line[:3] == "end")


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def fixed(path: Path) -> pa.Table:
    return table.fixed(pq.read_table(path))


def run(path: Path, out: Path, **more: Any) -> tuple[int, list[str]]:
    """Exit code, and the lines that people see."""
    shown = io.StringIO()
    code = fake_cells.run(path, out, console=Console(file=shown, width=200), **more)
    return code, shown.getvalue().splitlines()


def test_every_cell_once_and_never_again(tmp_path: Path) -> None:
    path, out = write(tmp_path, RIGHT), tmp_path / "out.parquet"
    code, said = run(path, out)
    assert code == 0
    assert "24 cells: 0 known, 24 to run" in said
    assert "24 right" in said
    assert len(ended()) == CELLS
    assert set(ended().values()) == {1}
    # Bytes, not only rows: nothing of now is in it.
    first = out.read_bytes()
    out.unlink()
    code, said = run(path, out)
    assert (code, "24 cells: 24 known, 0 to run" in said) == (0, True)
    assert set(ended().values()) == {1}
    assert out.read_bytes() == first


def test_a_grid_that_grows_runs_what_is_new(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    run(write(tmp_path, RIGHT), out)
    code, said = run(write(tmp_path, RIGHT.replace("seeds: 2", "seeds: [2, 3]")), out)
    assert (code, "24 cells: 12 known, 12 to run" in said) == (0, True)
    assert len(ended()) == 36
    assert set(ended().values()) == {1}
    assert fixed(out)["seed"].to_pylist() == [2, 3] * 12


def test_the_order_is_the_grids_however_it_was_run(tmp_path: Path) -> None:
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    run(write(tmp_path, RIGHT), first)
    for part in ("sizes: [16K]", "sizes: [8K, 4K]"):
        run(write(tmp_path, RIGHT.replace("sizes: [4K, 8K, 16K]", part)), second, again="all")
    run(write(tmp_path, RIGHT), second, jobs=3)
    assert fixed(first).equals(fixed(second))
    assert set(ended().values()) == {2}


def test_the_table(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    run(write(tmp_path, RIGHT), out)
    found = pq.read_table(out)
    assert found.schema.equals(table.schema(), check_metadata=True)
    assert [str(field.type) for field in found.schema] == [column.kind for column in table.COLUMNS]
    row = found.to_pylist()[0]
    assert {name: row[name] for name in fixed(out).column_names} == {
        "workload": "mine",
        "model": "mirror",
        "kernel": None,
        "policy": "in_place",
        "size": 4096,
        "seed": 1,
        "run": 1,
        "outcome": "right",
        "checked": True,
        "exit_code": 0,
        "key": row["key"],
        "devmodel": "0",
        "kernel_release": "7.2",
    }
    assert len(set(found["key"].to_pylist())) == CELLS
    assert (row["device_faults"], row["why"], row["qemu"]) == (0, "", None)
    assert row["began"].timestamp() > time.time() - 3600


PAGE = Path(__file__).parents[2] / "docs/sweeps.md"


def test_the_page_has_every_column() -> None:
    rows = PAGE.read_text().partition("| column |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert [(name.strip("`"), kind, meaning) for name, kind, meaning in cells] == [
        (column.name, column.kind, column.meaning) for column in table.FIXED + table.AROUND
    ]


FAILING = """
models: [mirror, private]
sweep: {seeds: 2}
workloads:
  - {name: good, command: [right]}
  - {name: bad, command: [wrong]}
  - {name: killer, command: [panic]}
"""


def test_a_failing_cell_is_named_and_costs_itself_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(tmp_path, FAILING), tmp_path / "out.parquet"
    code, said = run(path, out, json=True)
    assert code == ExitCode.PANIC
    assert "bad private in_place seed=2: its output is wrong" in said
    assert "killer mirror in_place seed=1: it panicked" in said
    assert said[-1] == "4 right, 4 wrong, 4 panic"
    told = json.loads(capsys.readouterr().out)
    assert told["outcomes"] == {"right": 4, "wrong": 4, "panic": 4}
    assert (told["table"], told["cells"], told["ran"], told["missing"]) == (str(out), 12, 12, [])
    assert {"cell": "bad mirror in_place seed=1", "outcome": "wrong"}.items() <= (
        told["not_right"][0].items()
    )
    assert len(told["not_right"]) == 8
    # They are finished, too; and still not right.
    begun = len(fake_cells.log())
    assert run(path, out)[0] == ExitCode.PANIC
    assert len(fake_cells.log()) == begun
    run(path, out, again="failed")
    lines = [line for line in fake_cells.log()[begun:] if line.startswith("begin")]
    assert len(lines) == 8
    assert not any("good" in line for line in lines)


def test_wrong_alone_is_1(tmp_path: Path) -> None:
    path = write(tmp_path, "models: [mirror]\nworkloads: [{command: [wrong]}]")
    assert run(path, tmp_path / "out")[0] == 1


def test_what_could_not_be_run_is_tried_again(tmp_path: Path) -> None:
    text = "models: [mirror]\nsweep: {seeds: 3}\nworkloads: [{name: x, command: [no-guest]}]"
    path, out = write(tmp_path, text), tmp_path / "out"
    for _ in range(2):
        before = len(fake_cells.log())
        code, said = run(path, out)
        assert code == ExitCode.LAUNCH
        assert said[-2:] == ["x mirror in_place seed=3: no QEMU today", "3 not started"]
        # What keeps one from starting keeps all: no three boots for nothing.
        assert len(fake_cells.log()) - before == 1
    assert pq.read_table(out)["exit_code"].null_count == 3


def test_the_same_output_everywhere(tmp_path: Path) -> None:
    text = GRID + (
        "workloads:\n"
        "  - {name: same, command: [right, '{size}', '{seed}'], expect: {same_output: true}}\n"
        "  - {name: other, command: [right, '{model}'], expect: {same_output: true}}\n"
    )
    code, said = run(write(tmp_path, text), tmp_path / "out")
    assert code == 1
    assert said[-1] == "36 right, 12 wrong"
    assert (
        "other private in_place size=4K seed=1: printed something else than "
        "other mirror in_place size=4K seed=1" in said
    )


def test_an_axis_that_nothing_uses_is_told(tmp_path: Path) -> None:
    _, said = run(write(tmp_path, RIGHT.replace(", '{seed}'", "")), tmp_path / "out")
    assert "mine does not use seeds: only the number differs" in said


def test_a_table_that_cannot_be_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"-o .*/no/out: no folder .*/no; name another file"):
        run(write(tmp_path, RIGHT), tmp_path / "no/out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=r"-o .*/folder: is a folder; name another file"):
        run(write(tmp_path, RIGHT), tmp_path / "folder")
    assert fake_cells.log() == []


def test_a_dry_run_lists_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, RIGHT.replace("seeds: 2", "seeds: [2]"))
    run(path, tmp_path / "out")
    begun = fake_cells.log()
    monkeypatch.setattr(sweep, "recognize", fake_cells.identify)
    path = write(tmp_path, RIGHT)
    assert cli.main(["sweep", str(path), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "missing      mine mirror in_place size=4K seed=1",
        "right        mine mirror in_place size=4K seed=2",
    ]
    assert lines[-1] == "24 cells: 12 done, 12 missing"
    assert cli.main(["sweep", str(path), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["cells"]
    assert len(told) == CELLS
    assert (told[0]["cell"], told[0]["done"]) == ("mine mirror in_place size=4K seed=1", False)
    assert (told[1]["done"], told[1]["outcome"]) == (True, "right")
    assert fake_cells.log() == begun


def test_two_names_of_one_machine_are_one_cell_each(tmp_path: Path) -> None:
    """Kernels that are the same: both rows are there, from one run."""
    text = "models: [mirror]\nsweep: {kernels: [7.2-own, ./tree]}\nworkloads: [{command: [right]}]"
    (tmp_path / "tree").mkdir()
    path, out = write(tmp_path, text), tmp_path / "out"
    code = sweep.run(
        Experiment.load(path),
        place.local(1),
        Console(file=io.StringIO()),
        out=out,
        work=fake_cells.fake_work,
        ask=lambda machines, _: dict.fromkeys(machines, "the same"),
    )
    assert code == 0
    assert len(set(pq.read_table(out)["key"].to_pylist())) == 1
    assert fixed(out)["kernel"].to_pylist() == ["7.2-own", str(tmp_path / "tree")]
    assert len(ended()) == 1


# --- the process ends


def start(path: Path, out: Path, jobs: int = 1) -> subprocess.Popen[bytes]:
    """The sweep, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, fake_cells.__file__, str(path), str(out), str(jobs)],
        env={**os.environ, "PYTHONPATH": str(Path(fake_cells.__file__).parent)},
        # A shell that starts the tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def gated(folder: Path) -> tuple[Path, Path]:
    """A grid whose middle cells wait, and what they wait for."""
    gate = folder / "gate"
    text = GRID + (
        "workloads:\n"
        "  - {name: first, command: [right, '{size}', '{seed}']}\n"
        f"  - {{name: last, command: [gate, {gate}]}}\n"
    )
    return write(folder, text.replace("sizes: [4K, 8K, 16K], ", "sizes: [4K], ")), gate


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_half_way_it_runs_only_what_is_missing(tmp_path: Path, jobs: int) -> None:
    path, gate = gated(tmp_path)
    out = tmp_path / "out"
    process = start(path, out, jobs)
    wait_for(lambda: sum("begin last" in line for line in fake_cells.log()) == jobs)
    children = [int(line.split()[-1]) for line in fake_cells.log() if line.startswith("begin")]
    process.kill()
    process.wait()
    done = ended()
    assert len(done) == 2 * jobs
    # Its guests went with it.
    wait_for(lambda: not any(running(child) for child in children))
    assert not out.exists()
    gate.touch()
    code, said = run(path, out)
    assert code == 0
    assert f"16 cells: {2 * jobs} known, {16 - 2 * jobs} to run" in said
    assert len(ended()) == 16
    assert set(ended().values()) == {1}


def running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    path, gate = gated(tmp_path)
    out = tmp_path / "out"
    process = start(path, out)
    wait_for(lambda: any("begin last" in line for line in fake_cells.log()))
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 128 + signal.SIGINT
    assert pq.read_table(out)["workload"].to_pylist() == ["first", "first"]
    # The one that was made to end has no result.
    assert len(list(store.folder().iterdir())) == 2
    gate.touch()
    assert run(path, out)[0] == 0
    assert fixed(out)["outcome"].to_pylist() == ["right"] * 16
    assert {cell: count for cell, count in ended().items() if "first" in cell and count > 1} == {}
