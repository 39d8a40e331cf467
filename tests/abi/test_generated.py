"""The generated files are those of the declarations, and C agrees about every layout."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devmodel.abi import layout
from devmodel.abi.generate import ROOT
from devmodel.abi.record import Record

HEADERS = {"driver": "guest/driver/devmodel_abi.h", "programs": "guest/uapi/devmodel.h"}


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devmodel.abi", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def compile_c(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt-get install gcc libc6-dev")
    file = folder / "test.c"
    file.write_text(source)
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Wpadded", "-Werror", "-fsyntax-only"]
    return subprocess.run(
        [*command, f"-I{ROOT}", str(file)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_c_agrees_about_size_and_offsets(header: str, tmp_path: Path) -> None:
    assert "DEVMODEL_SIZE(" in (ROOT / header).read_text()
    done = compile_c(f'#include "{header}"\n', tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_wrong_layout_does_not_compile(tmp_path: Path) -> None:
    text = (ROOT / HEADERS["driver"]).read_text()
    broken = text.replace("__u64 heartbeat;", "__u64 heartbeat, more;", 1)
    assert broken != text
    broken = broken.replace('"../uapi/devmodel.h"', f'"{HEADERS["programs"]}"')
    done = compile_c(broken, tmp_path)
    assert "static assertion failed" in done.stderr


@pytest.mark.parametrize("record", layout.DEVICE_RECORDS + layout.UAPI_RECORDS)
def test_every_field_is_asserted(record: type[Record]) -> None:
    texts = [(ROOT / header).read_text() for header in HEADERS.values()]
    text = next(text for text in texts if f"DEVMODEL_SIZE({record.C_NAME}, " in text)
    for field in record.FIELDS:
        assert f"DEVMODEL_AT({record.C_NAME}, {field.name}, {field.offset});" in text
