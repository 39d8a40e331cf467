"""`devmodel doctor`: is this machine ready, and if not, what is missing?"""

import argparse
from dataclasses import asdict

from devmodel.cli import output
from devmodel.errors import ExitCode
from devmodel.machine import host
from devmodel.machine.host import Verdict

COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAIL: "bold red"}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `doctor`."""
    parser = commands.add_parser(
        "doctor",
        help="say whether this machine is ready, and what to do if not",
        description="Look at this machine. Exit code 0 if it is ready, 3 if not.",
        epilog="examples:\n  $ devmodel doctor\n  $ devmodel doctor --json | jq .ready",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if ready, else 3."""
    checks = host.check_all()
    ready = all(check.verdict is not Verdict.FAIL for check in checks)
    if arguments.json:
        output.print_json({"ready": ready, "checks": [asdict(check) for check in checks]})
    else:
        console = output.stderr()
        for check in checks:
            console.print(f"[{COLOURS[check.verdict]}]{check.verdict:4}[/]", end=" ")
            console.print(f"{check.name:9} {check.found}", markup=False, soft_wrap=True)
            if check.remedy:
                console.print(f"               {check.remedy}", markup=False, soft_wrap=True)
        console.print("ready" if ready else "not ready", markup=False)
    return int(ExitCode.OK if ready else ExitCode.HOST)
