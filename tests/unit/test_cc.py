"""`devmodel cc`: programs of users, built by the tools and run here, where there is no device."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import devmodel
from devmodel import paths
from devmodel.build import cache, compiler, library, tree
from devmodel.cli import main as cli
from devmodel.errors import ConfigError
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = paths.GUEST / "examples"
HELLO = """\
#include <stdio.h>
#include "words.h"
int main(void) { return puts(WORDS) < 0; }
"""
WORDS = '#define WORDS "from afar"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, whose name no shell would like."""
    folder = tmp_path / "my work" / "it's"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def tools() -> None:
    """What is fetched or built once, which is said, is here."""
    tree.cplusplus(QUIET)
    library.obtain(QUIET)


def cc(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """As a person types it."""
    command = [sys.executable, "-m", "devmodel.cli.main", "cc", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def said(*command: str | Path, code: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


# --- what no compiler needs to see


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "no source; as in devmodel cc hello.c -o hello"),
        (["-o", "x"], "no source; as in devmodel cc hello.c -o hello"),
        (["-I", "it.c", "-o", "x"], "no source; as in devmodel cc hello.c -o hello"),
        (["its.c", "-o", "x"], "its.c: no such file; did you mean it.c?"),
        (["zzz.cc", "-o", "x"], "zzz.cc: no such file; name a C or C++ file"),
        (["src/it.c", "-o", "x"], "src/it.c: no such file; there is no folder src either"),
        (["it.c"], "no name for the program; add -o it"),
        (["it.c", "-g", "-o"], "-o wants a word after it; devmodel cc --help"),
        (["it.c", "--", "-g"], None),
    ],
)
def test_a_mistake_is_one_line_with_a_hint(
    words: list[str], line: str | None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "it.c").touch()
    if line is None:
        with pytest.raises(SystemExit):
            cli.main(["cc", *words])
        assert "cc takes no command after --" in capsys.readouterr().err
        return
    assert cli.main(["cc", *words]) == 2
    assert capsys.readouterr().err == f"devmodel: {line}\n"


def test_sources_that_the_compiler_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr/share")
    with pytest.raises(ConfigError, match="/usr/share: the compiler has a /usr of its own"):
        compiler.run([__file__, "-c"], QUIET)


@pytest.mark.parametrize(
    ("words", "is_it"),
    [
        (["a.c"], False),
        (["a.c", "b.cc"], True),
        (["a.C"], True),
        (["a.c", "-o", "a.cc"], False),
        (["-x", "c++", "a.c"], True),
        (["a.o", "-lstdc++"], True),
        (["-include", "a.cpp", "a.c"], False),
    ],
)
def test_what_is_cplusplus(words: list[str], is_it: bool) -> None:
    assert compiler._is_cplusplus(words, list(compiler._inputs(words))) is is_it


def test_which_folders_the_compiler_sees(here: Path) -> None:
    (here / "it.c").symlink_to("/var/elsewhere/it.c")
    top = Path(*here.parts[:2])

    def seen(*words: str) -> set[Path]:
        return set(compiler._folders(words, list(compiler._inputs(words))))

    assert seen() == seen("x.c", "-Iinclude", "-DX=a/b", "-I/no-such/folder") == {top}
    assert seen("x.c", "-I/var/include") == {top, Path("/var")}
    assert seen("x.c", "-L", "/var/lib") == {top, Path("/var")}
    assert seen("it.c") == seen("/var/it.c") == {top, Path("/var")}
    assert seen("../" * 20 + "var/it.c") == {top, Path("/var")}
    assert seen("x.c", "-I/usr/include", "-I/etc") == {top}


# --- programs


def test_a_program_of_files_in_several_folders(here: Path) -> None:
    (here / "hello.c").write_text(HELLO)
    (here.parent / "words.h").write_text(WORDS)
    assert cc("hello.c", "-I..", "-o", "hello").stdout == ""
    assert said(here / "hello") == "from afar\n"
    assert "not a dynamic executable" in said("ldd", here / "hello", code=1)


def test_words_reach_the_compiler_as_they_are(here: Path) -> None:
    (here / "hello.c").write_text(HELLO)
    (here / "words.h").write_text("")
    cc("-c", '-DWORDS="two words"', "hello.c")
    cc("hello.o", "-ohello")
    assert said(here / "hello") == "two words\n"


def test_what_the_compiler_says_is_shown_as_it_is(here: Path) -> None:
    (here / "bad.c").write_text("int main(void)\n{\n\treturn nothing;\n}\n")
    done = cc("bad.c", "-o", "bad", code=1)
    lines = done.stderr.splitlines()
    assert lines[0] == "bad.c: In function 'main':"
    assert lines[1].startswith("bad.c:3:16: error: 'nothing' undeclared")
    assert "devmodel:" not in done.stderr
    assert not (here / "bad").exists()


def test_a_program_that_does_not_link(here: Path) -> None:
    (here / "bad.c").write_text("int nowhere(void);\nint main(void) { return nowhere(); }\n")
    assert "undefined reference to `nowhere'" in cc("bad.c", "-o", "bad", code=1).stderr


def test_the_exit_code_is_the_compilers(here: Path) -> None:
    (here / "it.c").write_text("")
    cc("it.c", "-o", "it", "--no-such-option", code=1)
    assert "14." in cc("-dumpfullversion").stdout


def test_for_machines(here: Path) -> None:
    (here / "it.c").write_text("int main(void) { return 0; }\n")
    found = json.loads(cc("it.c", "-o", "it", "--json").stdout)
    prefix = json.loads(cc("--prefix", "--json").stdout)["prefix"]
    assert found == {"exit_code": 0, "program": "it", "prefix": prefix}
    assert cc("--prefix").stdout == f"{prefix}\n"
    (here / "it.c").write_text("x")
    assert json.loads(cc("it.c", "-o", "it", "--json", code=1).stdout)["exit_code"] == 1


@pytest.mark.parametrize(
    ("source", "standard"),
    [("saxpy.c", "gnu11"), ("saxpy.c", "gnu23"), ("saxpy.cc", "c++17"), ("saxpy.cc", "c++20")],
)
@pytest.mark.usefixtures("tools")
def test_an_example_builds_without_warnings(source: str, standard: str, here: Path) -> None:
    program = here / "saxpy"
    words = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", str(program)]
    done = cc(*words, str(EXAMPLES / source))
    assert done.stderr == ""
    # It has the library's own words.
    assert "is the driver loaded (modprobe devmodel)?" in said(program, code=1)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("page", ["docs/howto/own-program.md", "docs/programs.md"])
def test_what_a_page_shows_compiles(page: str, here: Path) -> None:
    for block in re.findall(r"```c\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        (here / "first.c").write_text(textwrap.dedent(block))
        assert cc("-Wall", "-Wextra", "-Werror", "first.c", "-o", "first").stderr == ""
        assert "is the driver loaded" in said(here / "first", code=1)


# --- the library, for other build systems


def test_pkg_config_names_the_place_where_it_lies(tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None or shutil.which("gcc") is None:
        pytest.skip("not installed: apt-get install pkg-config gcc libc6-dev")
    moved = shutil.copytree(library.obtain(QUIET), tmp_path / "moved")
    script = (
        f"PKG_CONFIG_PATH={moved}/lib/pkgconfig; export PKG_CONFIG_PATH; "
        f"gcc -static {EXAMPLES / 'saxpy.c'} -o {tmp_path / 'saxpy'} "
        "$(pkg-config --cflags --libs libdevmodel) && pkg-config --modversion libdevmodel"
    )
    assert said("sh", "-c", script) == f"{devmodel.__version__}\n"
    assert "is the driver loaded" in said(tmp_path / "saxpy", code=1)


def test_an_edit_of_what_it_is_made_of_builds_it_again() -> None:
    made_of = library.sources()
    for path in (*paths.GUEST.glob("lib/libdevmodel*"), *cache.tree_files(paths.GUEST / "uapi")):
        assert path in made_of
    prefix = library.obtain(QUIET)
    installed = {path.name for path in cache.tree_files(prefix / "include")}
    assert installed == {"libdevmodel.h", "devmodel.h", "devmodel_stats.h"}
    module = prefix / "lib/python/libdevmodel"
    assert sorted(path.name for path in module.iterdir()) == sorted(
        path.name for path in (library.PYTHON / "libdevmodel").glob("*.py")
    )
