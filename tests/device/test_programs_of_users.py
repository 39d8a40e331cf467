"""Programs from users' files: what works, and one clear line for each thing that does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_driver import FakeDriver

from devmodel.abi.rings import Status
from devmodel.device.programs import BUILTIN, ProgramError, load_programs, program

GOOD = """
from dataclasses import dataclass
from devmodel.device.programs import BadArgument, Memory, program

@dataclass
class Pair:
    a: int

@program("double")
async def double(memory: Memory, va: int, count: int, factor: int = 2) -> tuple[int, int]:
    if not count:
        raise BadArgument("nothing to double")
    values = await memory.load(va, count)
    await memory.store(va, values * factor)
    return count, factor
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_user_brings_a_program(tmp_path: Path) -> None:
    programs = load_programs(write(tmp_path / "mine.py", GOOD))
    assert list(programs) == ["double"]
    driver = FakeDriver(programs=BUILTIN | programs)
    process = driver.process()
    va = process.malloc(4096)
    process.put(va, (21).to_bytes(8, "little"))
    assert driver.run(1, "double", va, 1).result == (1, 2)
    assert driver.run(1, "double", va, 1, 10).result == (1, 10)
    assert process.words(va, 1)[0] == 420
    assert driver.run(1, "double", va).status == Status.BAD_ARGUMENT
    assert driver.run(1, "double", va, 0).status == Status.BAD_ARGUMENT


HEAD = "from devmodel.device.programs import program\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named"),
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("import sys\nsys.exit(1)\n", "line 2: SystemExit: 1"),
        ("x = 1\n", "declares no program"),
        (HEAD + "@program('p')\ndef p(memory): ...\n", "must be an async function"),
        (HEAD + "@program('p')\nasync def p(): ...\n", "first parameter must be the memory"),
        (HEAD + "@program('')\nasync def p(m): ...\n", "program name ''"),
        (HEAD + "@program('x' * 32)\nasync def p(m): ...\n", "1 to 31 characters"),
        (HEAD + "@program('p')\nasync def p(m, *, a): ...\n", "a can never be given"),
        (
            HEAD + "@program('p')\nasync def p(m, a,b,c,d,e,f,g,h,i): ...\n",
            "at most 8 arguments",
        ),
        (
            HEAD + "@program('p')\nasync def p(m): ...\n@program('p')\nasync def q(m): ...\n",
            "two programs are named p",
        ),
    ],
)
def test_files_that_do_not_work(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "bad.py", text)
    with pytest.raises(ProgramError) as caught:
        load_programs(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message
    assert not [name for name in sys.modules if str(path) in name]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"nothing\.py: no such file"):
        load_programs(tmp_path / "nothing.py")
    with pytest.raises(ProgramError, match="no such file"):
        load_programs(tmp_path)
    with pytest.raises(ProgramError, match=r"must end in \.py"):
        load_programs(write(tmp_path / "text.txt", GOOD))


def test_any_number_of_arguments() -> None:
    @program("any")
    async def anything(memory: object, first: int, *rest: int) -> None: ...

    assert [n for n in range(10) if anything.accepts(n)] == list(range(1, 9))


def test_the_builtin_ones() -> None:
    assert sorted(BUILTIN) == [
        "atomic_add",
        "bfs",
        "copy",
        "fill",
        "graph_bfs",
        "hash_lookup",
        "histogram",
        "kv_add",
        "kv_get",
        "list_walk",
        "saxpy",
        "stencil",
        "sum",
        "word_count",
    ]
