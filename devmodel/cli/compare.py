"""`devmodel compare`: workloads under every memory model, in one report."""

import argparse
from pathlib import Path

from devmodel.cli import options, output
from devmodel.device.config import DeviceModel
from devmodel.experiment.workloads import WORKLOADS

MODELS = tuple(model.value for model in DeviceModel)

EPILOG = """\
workloads:
{workloads}

examples:
  $ devmodel compare                                 everything: some minutes
  $ devmodel compare ping-pong kv
  $ devmodel compare stream --models private,coherent
  $ devmodel compare --csv table.csv
  $ devmodel compare kv --json | jq '.results[] | [.model, .remote_bytes]'

Exit code 0 only if every result was checked against the CPU's own. A guest that fails costs what
its model still had to do and gives its exit code; all else is kept and shown.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `compare`."""
    listed = "\n".join(f"  {item.name:19} {item.what}" for item in WORKLOADS.values())
    parser = commands.add_parser(
        "compare",
        help="run workloads under every memory model and show what differs",
        description="Boot a guest for each memory model, run the workloads in it one after the "
        "other, lose its device at the end, and compare.",
        epilog=EPILOG.format(workloads=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workloads", metavar="WORKLOAD", nargs="*", help="which workloads (default: all)"
    )
    options.add_models(parser, MODELS)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write all numbers there, too")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=options.positive,
        default=1,
        help="models at a time; more than one is quicker, but wall times then tell less",
    )
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every result is checked."""
    from devmodel.experiment import compare

    return compare.run(
        arguments.workloads,
        options.models(arguments, MODELS),
        json=arguments.json,
        csv=arguments.csv,
        jobs=arguments.jobs,
        console=output.stderr(),
    )
