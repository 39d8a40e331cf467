"""`devmodel build`: kernel, driver, guest programs and image, into the cache."""

import argparse

from devmodel.build import guest
from devmodel.build.config import KernelConfig
from devmodel.cli import options, output

EPILOG = """\
examples:
  $ devmodel build                     everything for the shipped kernel
  $ devmodel build debug-kernel        with KASAN and lockdep
  $ devmodel build --kernel 6.1-own    another kernel, see devmodel kernels
  $ devmodel build --kernel ~/linux    your own tree
  $ devmodel build --update            look for newer tools and a newer kernel first
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `build`."""
    parser = commands.add_parser(
        "build",
        help="fetch and build tools, kernel, driver and image now instead of at the first start",
        description="Fetch and build what is not in the cache yet: some seconds for a stock "
        "kernel, minutes for one from source.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_config(parser, optional=True)
    options.add_kernel(parser)
    parser.add_argument(
        "--update",
        action="store_true",
        help="look in the archive for newer packages than those of the last time",
    )
    parser.add_argument("--json", action="store_true", help="print the paths as JSON")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0; errors are exceptions."""
    qemu, root = "auto", None
    if arguments.config is not None:
        machine = options.load(arguments)
        config, qemu, root = machine.kernel, machine.qemu, machine.root
    else:
        config = options.kernel(arguments, KernelConfig())
    if arguments.update:
        guest.update(config, output.reporter(), qemu=qemu, root=root)
    built = guest.build(config, output.reporter(), qemu=qemu, root=root)
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
