"""The oracle on booted guests: good devices under every model, and devices that make mistakes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from depth import rounds

from devmodel.cli.main import main
from devmodel.machine import Machine, MachineConfig
from devmodel.machine.launch import Options
from devmodel.progress import Reporter

OPERATIONS = rounds(2_000, 5_000)
GOOD = ("mirror", "private", "coherent")
# A fault, and what it must be found by.
BAD = {
    "lost_invalidate": (1, {"access through a revoked translation", "use of a free frame"}),
    "late_invalidate": (100, {"access through a revoked translation", "use of a free frame"}),
    "lost_dirty": (3, {"dirty state lost"}),
    "stuck_address_line": (
        12,
        {"two pages copied into one frame", "access to a frame that is not the page's"},
    ),
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, no_vm: Any) -> Iterator[Path]:
    """A folder of traces: of GOOD devices, then of one for each of BAD, all in one guest."""
    no_vm.end()
    folder = tmp_path_factory.mktemp("traces")
    devices = [{"model": model} for model in GOOD]
    devices += [{"model": "private", "faults": {name: n}} for name, (n, _) in BAD.items()]
    config = MachineConfig.parse({"name": "oracle", "devices": devices}, folder / "oracle.yaml")
    with Machine(config, reporter=Reporter(), options=Options(trace=folder)) as vm:
        for number, model in enumerate(GOOD):
            command = f"DEVMODEL_DEVICE=/dev/devmodel{number} dm-model --ops {OPERATIONS} --seed 1"
            said = vm.run(command).check().stdout
            assert f"operations agree: model {model}" in said
        for number in range(len(GOOD), len(devices)):
            vm.run(f"DEVMODEL_DEVICE=/dev/devmodel{number} dm-pingpong").check()
    yield folder
    shutil.rmtree(folder)


def judged(
    capsys: pytest.CaptureFixture[str], path: Path
) -> tuple[int, dict[str, object], set[str]]:
    """The exit code of `devmodel check --json`, what it says, and the kinds of violations."""
    code = main(["check", str(path), "--json"])
    said = json.loads(capsys.readouterr().out)
    return code, said, {violation["what"] for violation in said["violations"]}


def test_good_devices_are_coherent(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All at once: what one device says is held against what the others say."""
    for number in range(len(GOOD)):
        shutil.copy(traces / f"device{number}.trace", tmp_path)
    code, said, _ = judged(capsys, tmp_path)
    assert (code, said["violations"]) == (0, [])
    assert isinstance(said["accesses"], int) and said["accesses"] > OPERATIONS
    assert isinstance(said["invalidates"], int) and said["invalidates"] > 300
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("no violation\n")


@pytest.mark.parametrize("fault", BAD)
def test_a_seeded_mistake_is_caught(
    traces: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    number = len(GOOD) + list(BAD).index(fault)
    path = traces / f"device{number}.trace"
    code, _, kinds = judged(capsys, path)
    assert code == 1
    # A frame that is two, one of them free, may be found as that, too.
    also = {"use of a free frame"} if fault == "stuck_address_line" else set()
    assert kinds - also == BAD[fault][1] - also
    assert main(["check", str(path)]) == 1
    story = capsys.readouterr().out
    # Both sides' history, with the violation marked.
    assert " driver " in story and " device " in story
    assert "\n> " in story
