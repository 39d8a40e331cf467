"""Where a VM's traces go."""

from dataclasses import replace
from pathlib import Path

import pytest

from devmodel.errors import ConfigError
from devmodel.machine import MachineConfig
from devmodel.machine.launch import Options, _trace

CONFIG = MachineConfig.load("private")


def test_nowhere_unless_asked_for(tmp_path: Path) -> None:
    assert _trace(CONFIG, Options(), tmp_path) is None
    traced = CONFIG.model_copy(update={"trace": True})
    assert _trace(traced, Options(), tmp_path) == tmp_path


def test_a_folder_is_made_and_holds_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "where"
    assert _trace(CONFIG, Options(trace=folder), tmp_path) == folder
    (folder / "device3.trace").write_text("of an earlier run")
    (folder / "notes").write_text("mine")
    _trace(CONFIG, replace(Options(), trace=folder), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["device0.trace", "notes"]


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"--trace .*/file: .*; name a folder for the traces"):
        _trace(CONFIG, Options(trace=file), tmp_path)
