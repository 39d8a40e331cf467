"""`devmodel put` and `devmodel get`: files and folders to and from a running guest."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devmodel.cli import options, output, reach
from devmodel.errors import ConfigError
from devmodel.machine import copies, rundir
from devmodel.machine.shell import GuestShell

PUT = """\
examples:
  $ devmodel put mine /usr/bin
  $ devmodel put second ./mine data/ /tmp        into the guest that is called second
  $ devmodel put data/ /tmp/other-name

The first word is a guest's name if one of that name runs; write ./NAME for such a file.
Exit code 0 if all is there, 1 if the guest refused, 2 if there is no such file here; what became
of the guest if it is gone (devmodel --help has the list).
"""
GET = """\
examples:
  $ devmodel get /var/log .
  $ devmodel get second /tmp/out result

Exit code 0 if all is here, 1 if it could not be read or written, or a part of it is no file or
a link that leads out of it; what became of the guest if it is gone (devmodel --help has the list).
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both."""
    put = commands.add_parser(
        "put",
        help="copy files into a running guest",
        usage="%(prog)s [NAME] SRC [SRC ...] DEST [options]",
        description="Copy files and folders into a running guest: into the folder DEST, or, where "
        "that is none, one SRC by that name. Modes and times are kept; in the guest all is root's.",
        epilog=PUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    put.set_defaults(action=run_put)
    get = commands.add_parser(
        "get",
        help="copy files out of a running guest",
        usage="%(prog)s [NAME] SRC DEST [options]",
        description="Copy a file or folder out of a running guest: into the folder DEST, or, where "
        "that is none, by that name. Modes and times are kept; what arrives is yours.",
        epilog=GET,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.set_defaults(action=run_get)
    for parser in (put, get):
        parser.add_argument("words", metavar="NAME|SRC|DEST", nargs="+", help="see above")
        parser.add_argument(
            "--timeout", metavar="SECONDS", type=float, default=3600.0, help="for all of it"
        )
        parser.add_argument("--json", action="store_true", help="say as JSON what was copied")
        options.add_verbose(parser)


def _split(words: Sequence[str], *, most: int | None) -> tuple[str | None, list[str]]:
    """The guest's name, if that is what the first word is, and the rest."""
    names = [info.name for _, info in rundir.everything() if info.state == "running"]
    named = len(words) > 2 and (words[0] in names or len(words) == most)
    rest = list(words[1:] if named else words)
    if len(rest) < 2 or (most is not None and len(words) > most):
        raise ConfigError(f"{len(words)} words do not say what goes where", hint="see --help")
    return words[0] if named else None, rest


def run_put(arguments: argparse.Namespace) -> int:
    """0; errors are exceptions."""
    name, (*sources, target) = _split(arguments.words, most=None)
    paths = [Path(source).expanduser() for source in sources]
    total = sum(copies.size(path) for path in paths)

    def work(shell: GuestShell, advance: Callable[[int], None]) -> None:
        copies.put(shell, paths, target, timeout=arguments.timeout, advance=advance)

    folder, info = rundir.running(name)
    with reach.shell(folder, info, "the copy", arguments.timeout) as shell:
        _moved(shell, f"copying to {info.name}", total, work)
    _say(arguments, {"guest": info.name, "sources": [str(path) for path in paths], "dest": target})
    return 0


def run_get(arguments: argparse.Namespace) -> int:
    """0; errors are exceptions."""
    name, (source, dest) = _split(arguments.words, most=3)
    target = Path(dest).expanduser()
    folder, info = rundir.running(name)
    with reach.shell(folder, info, "the copy", arguments.timeout) as shell:
        path, total = copies.find(shell, source, timeout=arguments.timeout)

        def work(shell: GuestShell, advance: Callable[[int], None]) -> None:
            copies.get(shell, source, target, timeout=arguments.timeout, advance=advance, path=path)

        _moved(shell, f"copying from {info.name}", total, work)
    _say(arguments, {"guest": info.name, "source": source, "dest": str(target)})
    return 0


def _moved(
    shell: GuestShell,
    title: str,
    total: int,
    work: Callable[[GuestShell, Callable[[int], None]], None],
) -> None:
    with output.reporter().step(title, total) as step:
        work(shell, step.advance)


def _say(arguments: argparse.Namespace, what: dict[str, Any]) -> None:
    if arguments.json:
        output.print_json(what)
