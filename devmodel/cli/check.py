"""`devmodel check`: the coherence oracle."""

import argparse
from pathlib import Path

from devmodel.cli import options, output

EPILOG = """\
examples:
  $ devmodel run private --trace out -- dm-model --ops 5000
  $ devmodel check out
  $ devmodel check out/device0.trace --json

Exit code 0 if nothing was violated, 1 if something was, 2 for what is not a trace. What is
proved, and what is not: docs/oracle.md.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `check`."""
    parser = commands.add_parser(
        "check",
        help="prove from a run's trace that device and driver were coherent",
        description="Prove from the traces of a run that no access used a revoked translation, "
        "that no dirty state was lost, and that every page was in one place; or show the first "
        "violation with both sides' history around it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "trace",
        metavar="TRACE",
        type=Path,
        help="the folder of `devmodel run --trace`, or the trace of one device in it",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 without violations, 1 with."""
    from devmodel.experiment.oracle import report
    from devmodel.experiment.oracle.check import check

    verdict = check(arguments.trace.expanduser(), output.reporter(quiet=arguments.json))
    if arguments.json:
        output.print_json(verdict.to_json())
    else:
        print(report.text(verdict))
    return 1 if verdict.violations else 0
