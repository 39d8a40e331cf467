"""`devmodel cc`: a C or C++ program for a guest."""

import argparse

from devmodel.build import compiler, library
from devmodel.cli import output

EPILOG = """\
options:
  -o PROGRAM    what to write
  --prefix      print the folder with libdevmodel's headers, library and Python module, and stop
  --json        print {"exit_code", "program", "prefix"} when it is done, or {"prefix"}
  -h, --help    this
  all others    are the compiler's, and reach it in the order in which they stand: -g, -O3,
                -Wall, -DNAME=1, -Ifolder, -std=c++20, -c, -lm

examples:
  $ devmodel cc saxpy.c -o saxpy
  $ devmodel cc -std=c++20 -Wall main.cc tables.c -o job -lm
  $ make CC='devmodel cc' job
  $ PKG_CONFIG_PATH=$(devmodel cc --prefix)/lib/pkgconfig pkg-config --cflags --libs libdevmodel
  $ devmodel run private -- sh -c 'cat >job; chmod +x job; ./job' <job

A file named .cc, .cpp, .cxx or .C makes it C++, for which g++ is fetched when it is first wanted.
<libdevmodel.h> and libdevmodel are found without an option. The exit code is the compiler's; 2 if
a file or -o is missing. docs/programs.md has more.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `cc`."""
    parser = commands.add_parser(
        "cc",
        help="compile a C or C++ program of your own for the guests",
        usage="%(prog)s [options] SOURCE... -o PROGRAM",
        description="Compile and link a program that runs in any guest: static, with libdevmodel,\n"
        "by the compiler that builds the guests' own programs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # No word is an option to argparse: they are the compiler's.
        prefix_chars="\0",
        add_help=False,
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(action=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """The compiler's exit code; 0 for what is only told."""
    words: list[str] = arguments.words
    if not {"-h", "--help"}.isdisjoint(words):
        parser: argparse.ArgumentParser = arguments.parser
        parser.print_help()
        parser.exit()
    own = {word for word in words if word in ("--json", "--prefix")}
    reporter = output.reporter()
    if "--prefix" in own:
        prefix = str(library.obtain(reporter))
        if "--json" in own:
            output.print_json({"prefix": prefix})
        else:
            print(prefix)
        return 0
    words = [word for word in words if word not in own]
    code = compiler.run(words, reporter)
    if "--json" in own:
        found = {
            "exit_code": code,
            "program": compiler.program(words),
            "prefix": str(library.obtain(reporter)),
        }
        output.print_json(found)
    return code
