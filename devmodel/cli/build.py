"""`devmodel build`: kernel, driver, guest programs and image, into the cache."""

import argparse

from devmodel.build import guest
from devmodel.build.config import KernelConfig
from devmodel.cli import options, output

EPILOG = """\
examples:
  $ devmodel build                     everything for the shipped kernel
  $ devmodel build debug-kernel        with KASAN and lockdep
  $ devmodel build --kernel 7.2        for another series, see devmodel kernels
  $ devmodel build --kernel ~/linux    for your own tree
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `build`."""
    parser = commands.add_parser(
        "build",
        help="build kernel, driver and guest image now instead of at the first start",
        description="Build what is not in the cache yet; a few minutes the first time.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_config(parser, optional=True)
    options.add_kernel(parser)
    parser.add_argument("--json", action="store_true", help="print the paths as JSON")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0; errors are exceptions."""
    if arguments.config is not None:
        config = options.load(arguments).kernel
    else:
        config = options.kernel(arguments, KernelConfig())
    built = guest.build(config, output.reporter())
    found = {
        "kernel": str(built.kernel.image),
        "release": built.kernel.release,
        "driver": str(built.driver) if built.driver else None,
        "programs": [path.name for path in built.programs],
        "image": str(built.image),
    }
    if arguments.json:
        output.print_json(found)
    else:
        for key, value in found.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            output.reporter().note(f"{key:9} {shown or 'none in this checkout'}")
    return 0
