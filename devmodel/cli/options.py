"""Options that several commands share, and what they make of a configuration."""

import argparse
import shlex
import sys
from pathlib import Path

from devmodel.machine import config as configs
from devmodel.machine.config import KernelConfig, MachineConfig
from devmodel.machine.console import READY
from devmodel.machine.errors import ConfigError
from devmodel.machine.launch import Options


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """-v, counted."""
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="say more: -v shows an error's details and the guest's console, -vv debug messages",
    )


def add_config(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """CONFIG."""
    parser.add_argument(
        "config",
        metavar="CONFIG",
        nargs="?" if optional else None,
        help=f"a YAML file, or the name of a shipped description: {', '.join(configs.shipped())} "
        "(private means hmm-private)",
    )


def add_kernel(parser: argparse.ArgumentParser) -> None:
    """--kernel."""
    parser.add_argument(
        "--kernel",
        metavar="PATH",
        type=Path,
        help="boot this kernel tree: as it is if it is built, else built in the cache",
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """What run and start know beyond CONFIG."""
    add_kernel(parser)
    parser.add_argument(
        "--append", metavar="WORDS", action="append", default=[], help="more kernel parameters"
    )
    parser.add_argument(
        "--qemu-opts", metavar="WORDS", action="append", default=[], help="more QEMU options"
    )
    parser.add_argument(
        "--programs",
        metavar="FILE.py",
        action="append",
        type=Path,
        default=[],
        help="device programs of your own, for every device",
    )
    parser.add_argument(
        "--gdb", action="store_true", help="wait for a debugger on port 1234 before booting"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the QEMU command line (devices without their agents) and stop",
    )
    add_verbose(parser)


def load(arguments: argparse.Namespace) -> MachineConfig:
    """The configuration with what the command line adds to it. ConfigError if it is bad."""
    config = MachineConfig.load(arguments.config)
    if arguments.kernel is not None:
        tree = arguments.kernel.expanduser().absolute()
        config = config.model_copy(update={"kernel": KernelConfig(tree=tree)})
    programs = tuple(path.expanduser().absolute() for path in getattr(arguments, "programs", []))
    if programs:
        if not config.devices:
            raise ConfigError("--programs: this machine has no device", hint="add one to CONFIG")
        devices = tuple(
            device.model_copy(update={"programs": device.programs + programs})
            for device in config.devices
        )
        config = config.model_copy(update={"devices": devices})
    config.check_files()
    return config


def machine_options(arguments: argparse.Namespace, *, echo: bool = False) -> Options:
    """The Options of run and start. ConfigError for words that cannot be split."""
    try:
        qemu = tuple(word for text in arguments.qemu_opts for word in shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"--qemu-opts: {error}", hint="balance the quotes") from error
    return Options(
        append=tuple(arguments.append),
        qemu=qemu,
        gdb=arguments.gdb,
        echo=_echo if echo and arguments.verbose else None,
    )


def _echo(line: str) -> None:
    if READY not in line:
        print(line, file=sys.stderr)
