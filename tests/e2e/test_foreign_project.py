"""The project that docs/testing.md shows, with devmodel from its wheel alone."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from test_wheel import ROOT, build

PAGE = ROOT / "docs/testing.md"
# A fence, and the file's name in a comment in the first line.
FILE = re.compile(r"```\w+\n(?:# |/\* )(?P<path>[\w./-]+)(?: \*/)?\n(?P<text>.*?)```", re.DOTALL)
SECONDS = 300

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(SECONDS * 2)]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel; what devmodel needs is this one's, without devmodel."""
    wheel = build(ROOT, tmp_path_factory.mktemp("wheel"), "--wheel")
    folder = tmp_path_factory.mktemp("foreign") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # A folder that stands in a .pth file is searched last, and its own .pth files are not read.
    (packages / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    code = "import devmodel; print(devmodel.__file__)"
    where = subprocess.check_output([python, "-c", code], cwd=folder, text=True)
    assert Path(where.strip()).is_relative_to(folder)
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As the page shows it."""
    files = {match["path"]: match["text"] for match in FILE.finditer(PAGE.read_text())}
    assert sorted(files) == [
        "pyproject.toml",
        "tests/check-fill.c",
        "tests/conftest.py",
        "tests/test_fill.py",
    ]
    (tmp_path / "tests").mkdir()
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    return tmp_path


def run(python: Path, project: Path, *words: str) -> str:
    """Its pytest, as in an environment that was activated."""
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    command = [python, "-m", "pytest", "-v", "-p", "no:hypothesispytest", *words]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def test_it_passes(python: Path, project: Path) -> None:
    said = run(python, project)
    assert "4 passed" in said, said
    assert "SUBPASSED[the CPU sees the last word]" in said
    assert "test_a_touch_moves_pages[coherent] PASSED" in said


def test_what_is_wrong_is_found_where_it_is(python: Path, project: Path) -> None:
    """A line that fails is a result of its own; the kernel's complaint is one test's."""
    source = project / "tests/check-fill.c"
    source.write_text(source.read_text().replace("words[WORDS - 1] == 42", "words[0] == 43"))
    (project / "tests/test_kernel.py").write_text("""
def test_before(vm): pass
def test_warns(vm): vm.run("echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1' >/dev/kmsg").check()
def test_after(vm): pass
""")
    tests = ("tests/test_fill.py::test_fill", "tests/test_kernel.py")
    said = run(python, project, *tests, "--devmodel-logs=logs")
    assert "SUBPASSED[the CPU sees the first word]" in said, said
    assert "SUBFAILED[the CPU sees the last word]" in said
    assert "not ok: the CPU sees the last word\n  the last word is 42\n" in said
    assert re.search(r"test_before\S* PASSED", said)
    assert re.search(r"test_warns\S* FAILED", said)
    assert re.search(r"test_after\S* PASSED", said)
    assert "the guest's kernel complained" in said
    (logs,) = set(re.findall(r"^logs: (.*)$", said, re.MULTILINE))
    assert "made_up.c:1" in (Path(logs) / "console.log").read_text()
