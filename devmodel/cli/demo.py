"""`devmodel demo`: the main job under each memory model, and one table."""

import argparse

from devmodel.cli import options, output

MODELS = ("mirror", "private", "coherent")

EPILOG = """\
examples:
  $ devmodel demo
  $ devmodel demo --models private,coherent
  $ devmodel demo --json | jq '.results[].device_faults'

Exit code 0 only if every result was checked against the CPU's own.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo`."""
    parser = commands.add_parser(
        "demo",
        help="build a word index and let the device walk it, under each memory model",
        description="Boot a guest for each memory model, run the word index in it, and compare.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_models(parser, MODELS)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every result is checked."""
    # Only this command needs the experiments; the others start faster without.
    from devmodel.experiment import demo

    return demo.run(options.models(arguments, MODELS), json=arguments.json, console=output.stderr())
