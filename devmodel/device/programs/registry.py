"""How a device program is declared, and how users bring their own.

A program is a coroutine over the memory of the process that launched it::

    from devmodel.device.programs import Memory, program

    @program("sum")
    async def sum_words(memory: Memory, src: int, count: int) -> int:
        return int((await memory.load(src, count)).sum())

It gets the launch's arguments as integers of 64 bits and returns None, an integer or two. It may
raise `BadArgument`; any other exception, and any other result, ends it as Status.PROGRAM_ERROR.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from devmodel.abi.rings import ComputeCommand

_NAME_BYTES = next(f.size for f in ComputeCommand.FIELDS if f.name == "program")
_MOST_ARGS = next(f.count for f in ComputeCommand.FIELDS if f.name == "args")

_LONGEST_TEXT = 1000

Function = Callable[..., Coroutine[Any, Any, object]]


class ProgramError(Exception):
    """A user's program, or the file it is in, cannot be used. The message is one line."""


@dataclass(frozen=True)
class Program:
    """A device program: its name, the coroutine function, and how many arguments it takes."""

    name: str
    function: Function
    least_args: int
    most_args: int

    def accepts(self, nargs: int) -> bool:
        """Whether a launch with `nargs` arguments is one of this program's."""
        return self.least_args <= nargs <= self.most_args

    def start(self, memory: Any, args: tuple[int, ...]) -> Coroutine[Any, Any, object]:
        """The coroutine of one launch, not yet begun. Whatever `function` raises, it raises."""
        coroutine = self.function(memory, *args)
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"program {self.name} made no coroutine")
        return coroutine


def program(name: str) -> Callable[[Function], Program]:
    """Declare the decorated ``async def`` as the program `name` (ASCII, at most 31 bytes).

    `ProgramError` if it cannot be launched as such.
    """

    def declare(function: Function) -> Program:
        if not name.isascii() or not name.isprintable() or not 0 < len(name) < _NAME_BYTES:
            raise ProgramError(
                f"program name {name!r}: must be 1 to {_NAME_BYTES - 1} characters of ASCII"
            )
        if not inspect.iscoroutinefunction(function):
            raise ProgramError(f"program {name}: must be an async function")
        least, most = _arguments(name, function)
        return Program(name, function, least, most)

    return declare


def _arguments(name: str, function: Function) -> tuple[int, int]:
    """How many arguments the program takes, least and most, beside the memory."""
    least = most = -1
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = _MOST_ARGS
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise ProgramError(f"program {name}: {parameter.name} can never be given")
    if most < 0:
        raise ProgramError(f"program {name}: the first parameter must be the memory")
    if least > _MOST_ARGS:
        raise ProgramError(f"program {name}: a launch has at most {_MOST_ARGS} arguments")
    return max(least, 0), min(most, _MOST_ARGS)


def programs_of(module: ModuleType) -> dict[str, Program]:
    """The programs that a module holds, by name. `ProgramError` if two have one name."""
    found: dict[str, Program] = {}
    for value in vars(module).values():
        if isinstance(value, Program) and found.setdefault(value.name, value) is not value:
            raise ProgramError(f"two programs are named {value.name}")
    return found


def load_programs(path: str | Path) -> dict[str, Program]:
    """The programs of a user's file, by name.

    `ProgramError` if there is no such file, it does not import, or it declares no program.
    """
    path = Path(path)
    if not path.is_file():
        raise ProgramError(f"{path}: no such file")
    # A name that no import statement can mean, and that two files do not share.
    name = f"devmodel program file {path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        found = programs_of(module)
    except BaseException as error:
        # Whatever a file raises is its own: nothing else runs here.
        del sys.modules[name]
        raise ProgramError(f"{path}: {_where(error, path)}{text_of(error)}") from error
    if not found:
        del sys.modules[name]
        raise ProgramError(f'{path}: declares no program; put @program("NAME") before one')
    return found


def text_of(error: BaseException) -> str:
    """What an exception of a user's code says, in one line of bounded length. Raises nothing."""
    try:
        told = error.msg if isinstance(error, SyntaxError) else error
        text = str(told) if isinstance(error, ProgramError) else f"{type(error).__name__}: {told}"
        return " ".join(text[:_LONGEST_TEXT].split()).removesuffix(":")
    except BaseException:
        return "an exception that cannot be shown"


def _where(error: BaseException, path: Path) -> str:
    """The last line of the file that the error came through, as ``line N: ``."""
    if isinstance(error, SyntaxError) and isinstance(error.lineno, int):
        return f"line {error.lineno}: "
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(path):
            line = frame.tb_lineno
        frame = frame.tb_next
    return f"line {line}: " if line else ""
