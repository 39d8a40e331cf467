"""The linters, as tests."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["devmodel", "docs", "tests", "guest"]
LINTERS = {
    "ruff check": ["ruff", "check", "--no-cache", *FOLDERS],
    "ruff format": ["ruff", "format", "--no-cache", "--check", *FOLDERS],
    # Runs at the same time spoil a cache that they share.
    "mypy": ["mypy", "--cache-dir=/dev/null"],
}


@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS)
def test_a_linter_is_content(command: list[str]) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: pip install -e '.[test]'")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
