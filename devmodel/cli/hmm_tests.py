"""`devmodel hmm-tests`: let the kernel's own tests judge."""

import argparse
from pathlib import Path

from devmodel.cli import options, output
from devmodel.machine.config import MachineConfig

EPILOG = """\
examples:
  $ devmodel hmm-tests
  $ devmodel hmm-tests --kernel 7.2
  $ devmodel hmm-tests --json | jq '.devices[] | [.device, .failed]'
  $ devmodel hmm-tests --kernel ~/linux

Exit code 0 if nothing that the kernel's in-kernel test device passes fails on ours.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `hmm-tests`."""
    parser = commands.add_parser(
        "hmm-tests",
        help="run the kernel's own HMM tests on our device and on its in-kernel one",
        description="Build tools/testing/selftests/mm/hmm-tests from the booted kernel's source, "
        "unmodified, and run it in one guest on our device and on the kernel's test_hmm.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_kernel(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("build"),
        help="where both KTAP logs go (default: build)",
    )
    parser.add_argument(
        "--json", action="store_true", help='print {"good", "devices": […]} on stdout'
    )
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if we are as good as the kernel's own."""
    from devmodel.experiment import hmm_tests

    config = MachineConfig.load(hmm_tests.CONFIG)
    config = config.model_copy(update={"kernel": options.kernel(arguments, config.kernel)})
    config.check_files()
    return hmm_tests.run(config, arguments.out, json=arguments.json, console=output.stderr())
