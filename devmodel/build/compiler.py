"""A user's program for a guest: C or C++, static, with libdevmodel, by the compiler of the tools.

The compiler runs in the tools tree, and of this machine it sees the folders that its words name,
whole from the top (`/home`): what a source includes lies beside it, or a few folders away.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from devmodel.build import library, tree
from devmodel.errors import ConfigError
from devmodel.progress import Reporter

CPLUSPLUS = (".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C")
# Of the compiler's options, those whose value may be the next word.
VALUED = frozenset(
    (
        *("-o", "-x", "-D", "-U", "-I", "-L", "-l", "-A", "-B", "-T", "-u", "-z", "-e"),
        *("-include", "-imacros", "-iquote", "-isystem", "-idirafter", "-iprefix"),
        *("-iwithprefix", "-iwithprefixbefore", "-isysroot", "-imultilib", "-MF", "-MT", "-MQ"),
        *("-Xlinker", "-Xassembler", "-Xpreprocessor", "-aux-info", "-wrapper", "--param"),
        *("-dumpbase", "-dumpbase-ext", "-dumpdir"),
    )
)
# With one of these nothing is linked, and the compiler names its output itself.
NO_PROGRAM = frozenset(("-c", "-S", "-E", "-M", "-MM", "-fsyntax-only"))
# Asked without a source.
QUESTIONS = ("--version", "-dump", "-print", "--print")
# The tree's own; this machine's are not to be seen there.
OWN = frozenset(("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "proc", "dev"))


def run(words: Sequence[str], reporter: Reporter) -> int:
    """Compile and link as `words` say, in gcc's language; the compiler's exit code.

    What it says goes to this process's own output, as it is. ConfigError, with a hint, for a source
    that is not there and for words that no compiler needs to see to be wrong.
    """
    inputs = list(_inputs(words))
    _check(words, inputs)
    folders = _folders(words, inputs)
    cplusplus = _is_cplusplus(words, inputs)
    prefix = library.obtain(reporter)
    tools = (tree.cplusplus if cplusplus else tree.obtain)(reporter)
    line = ["g++" if cplusplus else "gcc", "-O2", "-static", "-isystem", prefix / "include"]
    return tools.call(
        [*line, *words, "-L", prefix / "lib", "-ldevmodel"], cwd=Path.cwd(), folders=folders
    )


def program(words: Sequence[str]) -> str | None:
    """What the words name the output."""
    named = [word for option, word in pairwise(words) if option == "-o"]
    named += [word[2:] for word in words if word.startswith("-o") and word != "-o"]
    return named[-1] if named else None


def _inputs(words: Sequence[str]) -> Iterator[str]:
    """The files among the words: those that are no option and no option's value."""
    rest = iter(words)
    for word in rest:
        if word in VALUED:
            next(rest, None)
        elif not word.startswith("-"):
            yield word


def _check(words: Sequence[str], inputs: Sequence[str]) -> None:
    if words and words[-1] in VALUED:
        raise ConfigError(f"{words[-1]} wants a word after it", hint="devmodel cc --help")
    for name in inputs:
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file", hint=_similar(Path(name)))
    if any(word.startswith(QUESTIONS) for word in words):
        return
    if not inputs:
        raise ConfigError("no source", hint="as in devmodel cc hello.c -o hello")
    if NO_PROGRAM.isdisjoint(words) and program(words) is None:
        name = Path(inputs[0]).with_suffix("").name
        raise ConfigError("no name for the program", hint=f"add -o {name}")


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [other.name for other in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, 1)
    return f"did you mean {path.with_name(close[0])}?" if close else "name a C or C++ file"


def _is_cplusplus(words: Sequence[str], inputs: Sequence[str]) -> bool:
    languages = [word for option, word in pairwise(words) if option == "-x"]
    return (
        any(Path(name).suffix in CPLUSPLUS for name in inputs)
        or "c++" in languages
        or not {"-xc++", "-lstdc++"}.isdisjoint(words)
    )


def _folders(words: Sequence[str], inputs: Sequence[str]) -> list[Path]:
    """What the compiler must see of this machine, each from the top."""
    here = Path.cwd()
    files = [Path(os.path.normpath(here / name)) for name in inputs]
    files += [path.resolve() for path in files]
    # An absolute path at the end of an option: -I/home/me/include.
    named = [Path(os.path.normpath(word[word.index("/") :])) for word in words if "/" in word]
    for path in (here / "it", *files):
        if len(path.parts) > 2 and path.parts[1] in OWN:
            raise ConfigError(
                f"{path.parent}: the compiler has a {Path(*path.parts[:2])} of its own",
                hint="work in another folder, as in one below /home",
            )
    tops = {Path(*path.parts[:2]) for path in (here, *files, *named)}
    return sorted(top for top in tops if top.name not in ("", *OWN) and top.is_dir())
