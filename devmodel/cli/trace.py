"""`devmodel trace`: one command on one clock, for Perfetto."""

import argparse
import sys
from pathlib import Path

from devmodel.cli import options, output
from devmodel.errors import ConfigError

EPILOG = """\
examples:
  $ devmodel trace private -- dm-run sum @1048576 131072
  $ devmodel trace private -o kv.pftrace --pages -- patterns kv
  $ devmodel trace private --events migrate,sched/sched_switch -- patterns ping-pong

Open the file in Perfetto's viewer (ui.perfetto.dev, or one of your own: it stays in the browser),
or query it with its trace processor. docs/timeline.md says what to look for, and the queries.

Exit code: the command's; if that is 0, 1 if something is missing from the file, which is named.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `trace`."""
    parser = commands.add_parser(
        "trace",
        help="run one command in a guest, and write a timeline of guest, driver and device",
        usage="%(prog)s CONFIG [options] -- COMMAND [ARGUMENT ...]",
        description="Boot a guest, run one command in it, and write what guest, driver and device "
        "did meanwhile, on one clock, as a file for Perfetto: a track for each context, engine and "
        "thread.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_config(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("trace.pftrace"),
        help="write it there (default: trace.pftrace)",
    )
    parser.add_argument(
        "--events",
        metavar="LIST",
        action="append",
        default=[],
        help="more tracepoints of the guest's, with commas: a group (migrate), or one of it "
        "(sched/sched_switch)",
    )
    parser.add_argument(
        "--pages", action="store_true", help="a track for each page, too: the busiest 200"
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=3600.0, help="for the command"
    )
    options.add_kernel(parser)
    options.add_programs(parser)
    options.add_policy(parser)
    options.add_verbose(parser)
    parser.set_defaults(action=run, takes_command=True)


def run(arguments: argparse.Namespace) -> int:
    """The command's exit code; 1 if that is 0 and something is missing."""
    from devmodel.experiment.timeline.record import record
    from devmodel.machine.launch import Options

    target: Path = arguments.output.expanduser()
    if not arguments.guest_command:
        raise ConfigError("no command to trace", hint="write it after --")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"-o: no folder {target.parent}", hint="make it first")
    events = [name for text in arguments.events for name in text.split(",") if name]
    reporter = output.reporter()
    found = record(
        options.load(arguments),
        arguments.guest_command,
        events=events,
        pages=arguments.pages,
        options=Options(),
        timeout=arguments.timeout,
        stdin=output.stdin(),
        # With --json, stdout is the summary's.
        stdout=output.binary(sys.stderr if arguments.json else sys.stdout),
        stderr=output.binary(sys.stderr),
        reporter=reporter,
    )
    try:
        target.write_bytes(found.data)
    except OSError as error:
        raise ConfigError(f"-o: {target}: {error.strerror}", hint="name another file") from error
    if arguments.json:
        output.print_json({"file": str(target), **found.as_dict()})
    if found.clock is not None:
        reporter.note(f"device and guest on one clock, within {found.clock.error_ns / 1000:.0f} us")
    for line in found.trouble:
        reporter.note(line)
    reporter.note(f"timeline: {target}")
    return found.exit_code or (1 if found.trouble else 0)
