"""A sweep in real guests: on two workers, one of which is killed; here, killed half-way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from devmodel import paths
from devmodel.experiment.sweep import store, table
from devmodel.machine import rundir

pytest.importorskip("distributed", reason="pip install -e '.[dask]'")

SECONDS = 300
pytestmark = [pytest.mark.timeout(3 * SECONDS), pytest.mark.usefixtures("no_vm")]

# A cell takes long enough to be killed in the middle.
GRID = """
models: [private]
sweep: {sizes: [64K, 128K], policies: [on_touch], seeds: [1, 2]}
workloads:
  - {name: fill, command: [sh, -c, "sleep 1; dm-run fill @{size} $(({size} / 8)) {seed}"]}
"""


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    """Processes whose parent this is, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            pid = int(path.parent.name)
            found += [pid, *children(pid)]
    return found


def alive(pid: int) -> bool:
    """Neither gone nor dead and waited for by nobody."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listened_to(port: int) -> bool:
    """Whether somebody on this machine does."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(
        words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in map(str.split, lines)
    )


def start(module: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *words], stdin=subprocess.DEVNULL)


def sweep(file: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    return start("devmodel.cli.main", "sweep", str(file), "-o", str(out), *words)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a scheduler with two workers."""
    file = tmp_path / "scheduler.json"
    quiet = ["--no-dashboard"]
    began = [
        start(
            "distributed.cli.dask_scheduler",
            *(*quiet, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)),
        )
    ]
    try:
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        there = str(json.loads(file.read_text())["address"])
        for number in range(2):
            folder = str(tmp_path / f"worker{number}")
            words = [*quiet, "--no-nanny", "--nthreads", "1", "--local-directory", folder]
            began.append(start("distributed.cli.dask_worker", there, *words))
        yield there
    finally:
        for process in began:
            process.kill()
            process.wait()


def test_killed_workers_and_sweeps_leave_the_same_table(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(GRID)
    there, here = tmp_path / "there.parquet", tmp_path / "here.parquet"

    def vms() -> list[rundir.VmInfo]:
        return [info for _, info in rundir.everything() if info.state == "running"]

    process = sweep(file, there, "--scheduler", address)
    wait_for(lambda: len(vms()) == 2)
    killed = vms()[0]
    left = children(killed.pid)
    assert len(left) >= 2
    assert listened_to(killed.port)
    os.kill(killed.pid, signal.SIGKILL)
    # QEMU and agent, with all memory and sockets that were theirs.
    wait_for(lambda: not any(map(alive, left)))
    wait_for(lambda: not listened_to(killed.port))
    assert process.wait(SECONDS) == 0
    assert vms() == []
    assert not list(paths.vms().glob("*/key"))
    rows = pq.read_table(there)
    assert rows["outcome"].to_pylist() == ["right"] * 4
    assert rows["pages_to_device"].to_pylist() == pytest.approx([16, 16, 32, 32], abs=1)

    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "other"))
    cells = store.Store(store.folder())
    process = sweep(file, here, "--jobs", "1")
    wait_for(lambda: bool(cells.finished()))
    process.kill()
    process.wait()
    done = {key: (cells.path / f"{key}.json").stat().st_mtime_ns for key in cells.finished()}
    assert 1 <= len(done) < 4
    assert sweep(file, here, "--jobs", "1").wait(SECONDS) == 0
    for key, when in done.items():
        assert (cells.path / f"{key}.json").stat().st_mtime_ns == when
    assert table.fixed(pq.read_table(here)).equals(table.fixed(rows))
