"""`devmodel run`: one guest for one command."""

import argparse
import shlex
import sys
from pathlib import Path

from devmodel import link
from devmodel.build import guest
from devmodel.cli import options, output
from devmodel.machine import accel, qemu
from devmodel.machine.config import MachineConfig
from devmodel.machine.launch import Options
from devmodel.machine.machine import Machine

EPILOG = """\
examples:
  $ devmodel run mirror -- uname -a
  $ devmodel run private -v -- sh -c 'dmesg | tail'
  $ devmodel run my-machine.yaml --append slub_debug=P -- my-test
  $ devmodel run private                        an interactive shell; the VM ends with it
  $ devmodel run private --gdb                  stop before the first instruction, for gdb,
                                                and say how gdb gets there

The guest command's exit code is passed through. If the guest does not survive the command, the
exit code is 250 (panic), 251 (oops, or the kernel complained), 252 (hang), 253 (device lost) or
255 (gone).
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `run`."""
    parser = commands.add_parser(
        "run",
        help="boot a guest, run one command in it, end it",
        usage="%(prog)s CONFIG [options] [-- COMMAND [ARGUMENT ...]]",
        description="Boot a guest, run one command in it (or a shell), and end it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_config(parser)
    options.add_machine(parser)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=3600.0, help="for the command"
    )
    parser.set_defaults(action=run, takes_command=True)


def run(arguments: argparse.Namespace) -> int:
    """The guest command's exit code."""
    config = options.load(arguments)
    extra = options.machine_options(arguments, echo=True)
    if arguments.dry_run:
        print(dry_run(config, extra))
        return 0
    reporter = output.reporter()
    with Machine(config, reporter=reporter, options=extra) as vm:
        if not arguments.guest_command:
            return vm.shell.interactive(options.begin((), config))
        result = vm.run(
            options.begin(arguments.guest_command, config),
            stdin=output.stdin(),
            timeout=arguments.timeout,
            stdout=output.binary(sys.stdout),
            stderr=output.binary(sys.stderr),
        )
        return result.exit_code


def dry_run(config: MachineConfig, extra: Options) -> str:
    """One line to paste, for what can be run without supervisor and agents."""
    built = guest.build(config.kernel, output.reporter(), qemu=config.qemu)
    accelerator = accel.choose(config.accel, built.emulator)
    # Where the line is pasted: there is no folder for a VM that nobody supervises.
    gdb = Path(f"{config.name}.gdb") if extra.gdb else None
    boot = qemu.Boot(built.emulator, built.kernel.image, built.image, extra.append, gdb, extra.qemu)
    return shlex.join(qemu.standalone(config, accelerator, boot, link.DEFAULT))
