"""Programs from users' files: what works, and one clear line for each thing that does not."""

from __future__ import annotations

import asyncio
import math
import sys
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver

from devmodel.abi.rings import Access, Completion, ControlOp, Status
from devmodel.device.access import Missing
from devmodel.device.programs import (
    BUILTIN,
    BadArgument,
    Memory,
    Program,
    ProgramError,
    load_programs,
    program,
)
from devmodel.device.programs.registry import Function

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
        ("raise KeyboardInterrupt\n", "line 1: KeyboardInterrupt"),
        ("import asyncio\nraise asyncio.CancelledError\n", "line 2: CancelledError"),
        ("raise GeneratorExit('x' * 1000000)\n", "line 1: GeneratorExit: xxx"),
        ("raise SyntaxError('of its own')\n", "line 1: SyntaxError: of its own"),
        (
            "class E(Exception):\n def __str__(self): raise SystemExit\nraise E\n",
            "line 3: an exception that cannot be shown",
        ),
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
    assert len(message) < 2000
    assert not [name for name in sys.modules if str(path) in name]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"nothing\.py: no such file"):
        load_programs(tmp_path / "nothing.py")
    with pytest.raises(ProgramError, match="no such file"):
        load_programs(tmp_path)
    with pytest.raises(ProgramError, match=r"must end in \.py"):
        load_programs(write(tmp_path / "text.txt", GOOD))


class Silent(Exception):
    """Does not say what it is about."""

    def __str__(self) -> str:
        raise SystemExit("not for you")

    __repr__ = __str__


class Hidden(BaseException):
    """Does not even show where it came from."""

    @property
    def __notes__(self) -> list[str]:
        raise KeyboardInterrupt

    def __str__(self) -> str:
        raise GeneratorExit


class Picky(BadArgument):
    __str__ = Silent.__str__


class Number:
    """No number, whatever one asks."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __int__(self) -> int:
        raise self.error


class Pretender:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise SystemExit("whose business is that?")


RAISED = [
    ZeroDivisionError("of one's own"),
    asyncio.CancelledError("of one's own"),
    KeyboardInterrupt("of one's own"),
    GeneratorExit("of one's own"),
    BaseException("of one's own"),
    SystemExit("of one's own"),
    StopIteration("of one's own"),
    MemoryError("of one's own"),
    RecursionError("of one's own"),
    BaseExceptionGroup("of one's own", [KeyboardInterrupt()]),
]
RETURNED: list[tuple[object, str]] = [
    (math.inf, "OverflowError: cannot convert float infinity"),
    (math.nan, "ValueError: cannot convert float NaN"),
    (b"bytes", "ValueError: invalid literal"),
    ((1, math.inf), "OverflowError: cannot convert float infinity"),
    ((1, 2, 3), "returned 3 values"),
    (object(), "TypeError"),
    (np.arange(3), "TypeError"),
    (Number(KeyboardInterrupt("of one's own")), "KeyboardInterrupt: of one's own"),
    (Number(Silent()), "an exception that cannot be shown"),
    (Pretender(), "SystemExit: whose business"),
]
AWAITED: list[tuple[object, str]] = [
    (None, "awaited None"),
    (Pretender(), "SystemExit: whose business"),
    (Silent(), "SystemExit: not for you"),
    (Missing(Access.READ, ()), "which are no pages"),
    (Missing(Access.READ, ((1, 0),)), "which are no pages"),
    (Missing(Access.READ, ((-4096, 1),)), "which are no pages"),
    (Missing(Access.READ, ((0, 1),) * 10_000), "which are no pages"),
    (Missing(Access.READ, ((0, 1), (1,))), "ValueError"),  # type: ignore[arg-type]
    (Missing(Access.READ, (("a", "b"),)), "ValueError"),  # type: ignore[arg-type]
    (Missing(9, ((0, 1),)), "9 is not a valid Access"),  # type: ignore[arg-type]
]


def end_of(caplog: pytest.LogCaptureFixture, user: Program) -> Completion:
    """How a program ends on a device that has to go on after it."""
    driver = FakeDriver(programs=BUILTIN | {user.name: user})
    va = driver.process().malloc(4096)
    other = driver.launch(1, "fill", va, 1, 7)
    completion = driver.run(1, user.name)
    assert driver.wait(other).status == Status.OK
    assert driver.run(1, "sum", va, 1).result[0] == 7
    assert "Logging error" not in caplog.text
    return completion


def fails(caplog: pytest.LogCaptureFixture, function: Function, reason: str) -> None:
    """The program fails, the log says why."""
    assert end_of(caplog, program("mine")(function)).status == Status.PROGRAM_ERROR
    assert "program mine" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_program_may_raise_anything(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def mine(_: Memory) -> None:
        raise error

    fails(caplog, mine, "of one's own")


def test_an_exception_that_cannot_be_shown(caplog: pytest.LogCaptureFixture) -> None:
    for error in (Silent(), Hidden()):
        caplog.clear()

        async def mine(_: Memory, error: BaseException = error) -> None:
            raise error

        declared = Program("mine", mine, 0, 0)
        assert end_of(caplog, declared).status == Status.PROGRAM_ERROR
        assert "an exception that cannot be shown" in caplog.text

    async def picky(_: Memory) -> None:
        raise Picky

    assert end_of(caplog, program("mine")(picky)).status == Status.BAD_ARGUMENT


@pytest.mark.parametrize(("value", "reason"), RETURNED, ids=lambda value: type(value).__name__)
def test_a_program_may_return_anything(
    caplog: pytest.LogCaptureFixture, value: object, reason: str
) -> None:
    async def mine(_: Memory) -> object:
        return value

    fails(caplog, mine, reason)


@pytest.mark.parametrize(("event", "reason"), AWAITED, ids=lambda value: type(value).__name__)
def test_a_program_may_await_anything(
    caplog: pytest.LogCaptureFixture, event: object, reason: str
) -> None:
    @types.coroutine
    def wait() -> Generator[object, None, None]:
        yield event

    async def mine(_: Memory) -> None:
        await wait()

    fails(caplog, mine, reason)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_program_need_not_start_nor_end(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def no_coroutine(_: Memory) -> Coroutine[Any, Any, object]:
        raise error

    never = Program("mine", no_coroutine, 0, 0)
    assert end_of(caplog, never).status == Status.PROGRAM_ERROR
    assert "program mine did not start" in caplog.text
    assert "of one's own" in caplog.text

    async def stubborn(memory: Memory) -> None:
        while True:
            try:
                await memory.pause()
            except GeneratorExit:
                raise error from None

    driver = FakeDriver(programs={"mine": program("mine")(stubborn)})
    driver.process()
    cookie = driver.launch(1, "mine")
    driver.device.step()
    assert driver.command(ControlOp.STOP, cookie=cookie) == Status.OK
    driver.settle()
    assert driver.completions[cookie].status == Status.KILLED


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
