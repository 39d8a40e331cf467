"""Sweeps on a cluster: a real Dask scheduler here, and two workers, one of which is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_cells
import pyarrow.parquet as pq
import pytest
from test_sweep_cells import (
    CELLS,
    RIGHT,
    ended,
    fixed,
    gated,
    own_folders,
    run,
    running,
    wait_for,
    write,
)

from devmodel.errors import ConfigError, ExitCode, HostNotReady
from devmodel.experiment.sweep import cluster

pytest.importorskip("distributed", reason="pip install -e '.[dask]'")

__all__ = ["own_folders"]


def dask(*words: str) -> subprocess.Popen[bytes]:
    """One of Dask's programs."""
    module, *more = words
    path = os.pathsep.join([str(Path(fake_cells.__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *more],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Cluster:
    """A scheduler, and its workers."""

    def __init__(self, folder: Path) -> None:
        file = folder / "scheduler.json"
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file"]
        self.scheduler = dask("dask_scheduler", *words, str(file))
        self.workers: list[subprocess.Popen[bytes]] = []
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        self.address = str(json.loads(file.read_text())["address"])
        self._folder = folder

    def add_worker(self) -> None:
        """With one thread, and no nanny that would start it again."""
        words = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory"]
        number = len(self.workers)
        folder = str(self._folder / f"worker{number}")
        self.workers.append(dask("dask_worker", self.address, *words, folder))

    def end(self) -> None:
        """All of it."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler with two workers."""
    there = Cluster(tmp_path)
    try:
        for _ in range(2):
            there.add_worker()
        yield there
    finally:
        there.end()


def test_the_same_table(two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, RIGHT)
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(path, there, scheduler=two.address)[0] == 0
    assert len(ended()) == CELLS
    # Neither has been here.
    assert str(os.getpid()) not in pq.read_table(there)["host"].to_pylist()
    monkeypatch.setenv("DEVMODEL_STATE", str(tmp_path / "other"))
    assert run(path, here)[0] == 0
    assert set(ended().values()) == {2}
    assert fixed(there).equals(fixed(here))


def test_a_worker_that_is_killed_costs_what_it_had_begun(two: Cluster, tmp_path: Path) -> None:
    path, gate = gated(tmp_path)
    out = tmp_path / "out"
    found: list[tuple[int, list[str]]] = []
    sweep = threading.Thread(target=lambda: found.append(run(path, out, scheduler=two.address)))
    sweep.start()
    wait_for(lambda: sum("begin last" in line for line in fake_cells.log()) == 2)
    begun = [line.split() for line in fake_cells.log() if line.startswith("begin last")]
    worker, child = (int(word) for word in begun[0][-2:])
    os.kill(worker, signal.SIGKILL)
    # What plays its guest goes with it.
    wait_for(lambda: not running(worker) and not running(child))
    gate.touch()
    sweep.join(60)
    assert [code for code, _ in found] == [0]
    rows = pq.read_table(out)
    assert rows.num_rows == 16
    assert set(rows["outcome"].to_pylist()) == {"right"}
    # What it had finished was in the store.
    assert set(ended().values()) == {1}
    assert set(rows["host"].to_pylist()) == {str(process.pid) for process in two.workers}


def test_ctrl_c_ends_what_the_workers_do(two: Cluster, tmp_path: Path) -> None:
    path, gate = gated(tmp_path)
    out = tmp_path / "out"
    program = f"""
import sys, fake_cells
from pathlib import Path
try:
    fake_cells.run(Path({str(path)!r}), Path({str(out)!r}), scheduler={two.address!r})
except KeyboardInterrupt:
    sys.exit(130)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(fake_cells.__file__).parent)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: sum("begin last" in line for line in fake_cells.log()) == 2)
    children = [int(line.split()[-1]) for line in fake_cells.log() if line.startswith("begin")]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_for(lambda: not any(running(child) for child in children))
    assert pq.read_table(out).num_rows == 4
    # The workers are as good as before.
    gate.touch()
    assert run(path, out, scheduler=two.address)[0] == 0


def test_a_sweep_that_is_killed_leaves_no_guest_with_the_workers(
    two: Cluster, tmp_path: Path
) -> None:
    path, _ = gated(tmp_path)
    program = f"""
import fake_cells
from pathlib import Path
fake_cells.run(Path({str(path)!r}), Path({str(tmp_path / "out")!r}), scheduler={two.address!r})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(fake_cells.__file__).parent)},
    )
    wait_for(lambda: sum("begin last" in line for line in fake_cells.log()) == 2)
    children = [int(line.split()[-1]) for line in fake_cells.log() if line.startswith("begin")]
    process.kill()
    process.wait()
    wait_for(lambda: not any(running(child) for child in children))


def test_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 0.5)
    there = Cluster(tmp_path)
    try:
        with pytest.raises(
            HostNotReady, match=r"has had no worker for .*; start some: dask worker"
        ):
            run(write(tmp_path, RIGHT), tmp_path / "out", scheduler=there.address)
    finally:
        there.end()


def test_all_workers_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "GONE_SECONDS", 0.5)
    path, _ = gated(tmp_path)
    there = Cluster(tmp_path)
    try:
        there.add_worker()

        def kill() -> None:
            wait_for(lambda: any("begin last" in line for line in fake_cells.log()))
            there.workers[0].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        code, said = run(path, tmp_path / "out", scheduler=there.address)
        killer.join()
    finally:
        there.end()
    assert code == ExitCode.HOST
    assert any("the scheduler has had no worker" in line for line in said)
    assert said[-1] == "2 right, 14 missing"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1"])
def test_a_scheduler_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(ConfigError) as caught:
        run(write(tmp_path, RIGHT), tmp_path / "out", scheduler=address)
    said = str(caught.value)
    assert said.startswith(f"--scheduler {address}: ")
    assert said.endswith("; write it as tcp://HOST:8786, as dask scheduler shows it")
    assert "\n" not in said


def test_without_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HostNotReady) as caught:
        run(write(tmp_path, RIGHT), tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    assert str(caught.value) == (
        "--scheduler needs Dask, which is not installed; pip install 'devmodel[dask]'"
    )
