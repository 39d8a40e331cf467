"""The headers that programs include, in each language: alone, and what calls of theirs become."""

import shutil
import subprocess
from pathlib import Path

import pytest

from devmodel.abi.generate import ROOT

LANGUAGES = {
    "c11": ("gcc", "c"),
    "c17": ("gcc", "c"),
    "c++11": ("g++", "c++"),
    "c++17": ("g++", "c++"),
    "c++20": ("g++", "c++"),
}
HEADERS = ("libdevmodel.h", "devmodel.h", "devmodel_stats.h")
FOLDERS = (ROOT / "guest/lib", ROOT / "guest/uapi")


def compiled(
    standard: str, source: str, folder: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    compiler, language = LANGUAGES[standard]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: apt-get install {compiler}")
    file = folder / "test"
    file.write_text(source)
    command = [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command += [f"-I{path}" for path in FOLDERS]
    return subprocess.run(
        [*command, *words, "-x", language, str(file)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("standard", LANGUAGES)
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_alone(standard: str, header: str, tmp_path: Path) -> None:
    done = compiled(standard, f"#include <{header}>\n", tmp_path, "-fsyntax-only")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("standard", LANGUAGES)
def test_every_language_sees_a_wrong_layout(standard: str, tmp_path: Path) -> None:
    text = (FOLDERS[1] / "devmodel.h").read_text()
    broken = text.replace("__u64 hbm_bytes;", "__u32 hbm_bytes;", 1)
    assert broken != text
    done = compiled(standard, broken, tmp_path, "-fsyntax-only")
    assert "assertion failed" in done.stderr


# The library's two functions that programs are launched with say what they were given.
CALLS = """
#include <stdio.h>
#include <libdevmodel.h>

enum colour { GREEN = 7 };

int64_t devmodel_launch_v(int dev, const char *program, unsigned int nargs, const uint64_t *args)
{
    printf("%d %s", dev, program);
    for (unsigned int i = 0; i < nargs; i++)
        printf(" %llx", (unsigned long long)args[i]);
    printf("\\n");
    return 1;
}

int devmodel_run_v(int dev, struct devmodel_wait *end, const char *program, unsigned int nargs,
                   const uint64_t *args)
{
    end->status = DEVMODEL_STATUS_OK;
    return (int)devmodel_launch_v(dev, program, nargs, args);
}

int main(void)
{
    const char *const name = "named";
    char *const nowhere = (char *)0x7f0012345678;
    const volatile int *const elsewhere = (const volatile int *)0x7f00000000f0;
    struct devmodel_wait end;
    unsigned char byte = 200;
    int calls = 0, dev = 3, once = 3;

    calls += (int)devmodel_launch(dev, name);
    calls += devmodel_run(dev, &end, "one", -1);
    calls += devmodel_run(dev, &end, "bits", devmodel_float_bits(2.5f), 'x');
    calls += devmodel_run(dev + 1, &end, "all", nowhere, elsewhere, byte, GREEN, once++,
                          sizeof(end), 1ull << 63, devmodel_place(0x200));
    return calls == 4 && once == 4 ? 0 : 1;
}
"""
SAID = """\
3 named
3 one ffffffffffffffff
3 bits 40200000 78
4 all 7f0012345678 7f00000000f0 c8 7 3 30 8000000000000000 2
"""


@pytest.mark.parametrize("standard", LANGUAGES)
def test_what_a_launch_is_given(standard: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    done = compiled(standard, CALLS, tmp_path, "-o", str(program))
    assert done.returncode == 0, done.stderr
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == SAID


REFUSED = """
#include <libdevmodel.h>
int call(int dev, struct devmodel_wait *end);
int call(int dev, struct devmodel_wait *end)
{{
    return devmodel_run(dev, end, "saxpy", {});
}}
"""


@pytest.mark.parametrize("standard", LANGUAGES)
@pytest.mark.parametrize(
    ("arguments", "in_c", "in_cplusplus"),
    [
        ("1, 2.5", "invalid use of void", "integers and pointers; see devmodel_float_bits()"),
        ("2.5f", "invalid use of void", "integers and pointers; see devmodel_float_bits()"),
        ("*end", "aggregate value", "integers and pointers"),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9", "AT_MOST_8", "a program takes 8 arguments"),
    ],
)
def test_what_is_no_argument_does_not_compile(
    standard: str, arguments: str, in_c: str, in_cplusplus: str, tmp_path: Path
) -> None:
    good = compiled(standard, REFUSED.format("1, 2, 3, 4, 5, 6, 7, 8"), tmp_path, "-fsyntax-only")
    assert good.returncode == 0, good.stderr
    done = compiled(standard, REFUSED.format(arguments), tmp_path, "-fsyntax-only")
    assert done.returncode != 0
    assert (in_c if standard.startswith("c1") else in_cplusplus) in done.stderr


@pytest.mark.parametrize("standard", ["c11", "c++17"])
def test_another_type_than_declared_does_not_compile(standard: str, tmp_path: Path) -> None:
    source = REFUSED.format("1").replace("dev, end, ", '"dev", end, ')
    assert compiled(standard, source, tmp_path, "-fsyntax-only").returncode != 0
    source = REFUSED.format("1").replace("dev, end, ", "dev, &dev, ")
    assert compiled(standard, source, tmp_path, "-fsyntax-only").returncode != 0
