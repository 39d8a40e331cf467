"""The wheel: whole, without the checkout around it, and the same bytes each time."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from devmodel import paths

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, out: Path, *what: str) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *what]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "--sdist")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "--wheel")


def test_it_holds_what_guests_are_made_of(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in (paths.GUEST, paths.CONFIGS):
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.parts[-2:])
            if path.is_file() and not hidden and path.suffix != ".pyc":
                assert f"devmodel/_data/{path.relative_to(ROOT)}" in names
    assert "devmodel/build/keys/debian-archive.asc" in names
    licences = {name.rpartition("/")[2] for name in names if "licenses/" in name}
    assert licences == {"LICENSE", "MIT.txt", "Linux-syscall-note.txt"}


def test_twice_the_same_bytes(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    assert build(ROOT, tmp_path / "again", "--wheel").read_bytes() == wheel.read_bytes()
    assert build(ROOT, tmp_path / "sdist", "--sdist").read_bytes() == sdist.read_bytes()


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as tar:
        tar.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    assert build(source, tmp_path / "wheel", "--wheel").read_bytes() == wheel.read_bytes()
