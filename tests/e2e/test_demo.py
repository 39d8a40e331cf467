"""`devmodel demo` as a person or a script calls it."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(400)]

FIELDS = {
    "model": str,
    "workload": str,
    "checked": bool,
    "device_faults": int,
    "pages_to_device": int,
    "pages_to_system": int,
    "bytes_to_device": int,
    "bytes_to_system": int,
    "tlb_hits": int,
    "tlb_misses": int,
    "hbm_bytes_in_use": int,
    "wall_seconds": float,
}


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devmodel.cli.main", "demo", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=360, check=False)


def test_all_models_as_one_json_object() -> None:
    done = demo("--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert list(results) == ["results"]
    assert [row["model"] for row in results["results"]] == ["mirror", "private", "coherent"]
    for row in results["results"]:
        assert {name: type(value) for name, value in row.items()} == FIELDS
        assert row["checked"] is True


def test_one_model_as_a_table() -> None:
    done = demo("--models", "coherent")
    assert done.returncode == 0, done.stderr
    assert "coherent" in done.stdout
    assert "yes" in done.stdout
    assert "private" not in done.stdout
