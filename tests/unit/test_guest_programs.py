"""The guest's programs as far as a host without the device can run them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.build import cache, modules
from devmodel.progress import Reporter

TEXT = (
    """\
The quick brown fox jumps over the lazy dog. The dog sleeps; the fox does not.
A very_long_identifier_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on ends.
"""
    * 50
)


@pytest.fixture(scope="module")
def programs() -> Path:
    """All of them, built as for the guest."""
    out = modules.programs(Reporter(quiet=True))[0].parent
    assert "warning" not in (out.parent / "build.log").read_text()
    return out


def names(programs: Path) -> list[str]:
    return sorted(path.name for path in programs.iterdir() if path.is_file())


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEVMODEL_DEVICE": "/dev/no-such-device"}
    return subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_all_are_static_and_say_what_they_are_for(programs: Path) -> None:
    found = names(programs)
    assert {"wordindex", "dm-model", "dm-run", "dm-stats", "dm-info", "dm-test-access"} <= {*found}
    for name in found:
        ldd = subprocess.run(["ldd", programs / name], capture_output=True, text=True, check=False)
        assert "not a dynamic executable" in ldd.stdout + ldd.stderr, name
        done = run(programs / name, "--help")
        assert done.returncode == 0, name
        assert done.stdout.startswith("usage: "), name
        assert run(programs / name, "--no-such-option").returncode == 2, name


def test_without_a_device_the_error_is_one_line(programs: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(TEXT)
    arguments = {
        "dm-run": ["fill", "@8", "1", "1"],
        "dm-hold": ["/go", "/told"],
        "dm-failing": ["1"],
        "dm-lost": ["/go", "/told"],
        "dm-splice": ["/held", "/let-go"],
        "dm-watch": ["/ready"],
        "dm-stall": ["/told"],
        "dm-long": ["migrate"],
        "patterns": ["stream"],
        "wordindex": [str(text)],
    }
    for name in names(programs):
        if name in ("dm-hog", "dm-membind"):
            continue  # have nothing to do with the device
        done = run(programs / name, *arguments.get(name, []))
        assert done.returncode != 0, name
        said = done.stdout if name.startswith("dm-test") else done.stderr
        (line,) = [line for line in said.splitlines() if "/dev/no-such-device" in line]
        assert "is the driver loaded" in line


def test_an_edit_of_any_source_builds_them_again() -> None:
    """What they are called in the cache depends on every file that make could read."""
    files = {path for path in cache.tree_files(paths.GUEST) if path.suffix in (".c", ".h")}
    others = {*cache.tree_files(modules.DRIVER), *cache.tree_files(paths.GUEST / "examples")}
    assert files - others == {path for path in modules.program_sources() if path in files}


def test_a_word_index_of_the_cpu_alone(programs: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(TEXT)
    done = run(programs / "wordindex", "--cpu-only", str(text))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["checked"] is True
    assert result["failed_checks"] == 0
    assert result["checks"] > 1000
    # 12 words, the long one cut to 63 characters, and the 500 that the job adds.
    assert result["words"] == len({*TEXT.lower().replace(".", "").replace(";", "").split()}) + 500


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--cpu-only", "/no/such/file"], "/no/such/file: No such file"),
        (["--cpu-only", "--bytes", "2M", "/dev/null"], "'2M' is not a number"),
        (["--cpu-only", "/dev/null"], "has no two words"),
    ],
)
def test_bad_input_to_the_word_index(programs: Path, words: list[str], why: str) -> None:
    done = run(programs / "wordindex", *words)
    assert done.returncode == 2
    assert why in done.stderr


def test_the_smallest_text(programs: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("a b")
    done = run(programs / "wordindex", "--cpu-only", str(text))
    assert done.returncode == 0, done.stderr
