"""`devmodel probe`: what comes to lie on the device's NUMA node, asked for or not."""

import argparse

from devmodel.cli import options, output
from devmodel.device.config import DeviceModel
from devmodel.machine.config import MachineConfig

MODELS = [model.value for model in DeviceModel if model.is_node]

EPILOG = """\
examples:
  $ devmodel probe --model numa
  $ devmodel probe --model cdm
  $ devmodel probe --model numa anonymous ksm
  $ devmodel probe --model cdm --json | jq '.probes[] | select(.arrived > 0) | .name'

Exit code 0 if each probe is as the model has it: what names the node arrives there; what does not
may (and then has to, or nothing was probed) under numa, and may not under cdm.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `probe`."""
    parser = commands.add_parser(
        "probe",
        help="count what the kernel puts on the device's NUMA node, asked for or not",
        description="Boot a guest whose HBM is a NUMA node, make the kernel place memory in every "
        "way it has, and count the pages that arrive on the node.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="these probes only (default: all)")
    parser.add_argument("--model", required=True, choices=MODELS, help="which memory model")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options.add_kernel(parser)
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every probe is ok."""
    from devmodel.experiment import probe

    config = MachineConfig.load(arguments.model)
    config = config.model_copy(update={"kernel": options.kernel(arguments, config.kernel)})
    config.check_files()
    return probe.run(config, arguments.names, json=arguments.json, console=output.stderr())
