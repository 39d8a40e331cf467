"""Options that several commands share, and what they make of a configuration."""

import argparse
import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from devmodel.build import root
from devmodel.build.config import NAMED, KernelConfig, called, of_path
from devmodel.errors import ConfigError
from devmodel.machine import config as configs
from devmodel.machine.config import MachineConfig, Policy, ShareConfig
from devmodel.machine.console import READY
from devmodel.machine.launch import Options

# Which machine a kernel tree is booted on that stands where CONFIG does.
OF_TREE = "private"


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
        f"(private means hmm-private); a kernel tree is booted on {OF_TREE}",
    )


def add_kernel(parser: argparse.ArgumentParser) -> None:
    """--kernel."""
    parser.add_argument(
        "--kernel",
        metavar="NAME|PATH",
        help=f"boot this kernel ({', '.join(NAMED)}; see devmodel kernels), this kernel tree (as "
        "it is if it is built, else built in the cache), or this bzImage with its modules",
    )
    parser.add_argument(
        "--modules",
        metavar="DIR",
        type=Path,
        help="where the modules of the bzImage are, if not beside it: a folder with lib/modules",
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """What run and start know beyond CONFIG."""
    add_kernel(parser)
    parser.add_argument(
        "--append", metavar="WORDS", action="append", default=[], help="more kernel parameters"
    )
    parser.add_argument(
        "--qemu",
        metavar="WHICH",
        help="auto (this machine's if it will do), host, tree (unpacked into the cache), or a path",
    )
    parser.add_argument(
        "--qemu-opts", metavar="WORDS", action="append", default=[], help="more QEMU options"
    )
    add_programs(parser)
    add_policy(parser)
    add_folders(parser)
    parser.add_argument(
        "--trace",
        metavar="DIR",
        type=Path,
        help="keep every device's trace in this folder, for `devmodel check DIR`",
    )
    parser.add_argument(
        "--gdb",
        action="store_true",
        help="wait for a debugger before booting; its command line is shown",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the QEMU command line (no agents, no folders of this machine's) and stop",
    )
    add_verbose(parser)


def add_programs(parser: argparse.ArgumentParser) -> None:
    """--programs; `programs` makes a list of it."""
    parser.add_argument(
        "--programs",
        metavar="FILE.py",
        action="append",
        type=Path,
        default=[],
        help="device programs of your own, for every device",
    )


def programs(arguments: argparse.Namespace) -> list[Path]:
    """What --programs names, absolute."""
    return [path.expanduser().absolute() for path in arguments.programs]


def add_folders(parser: argparse.ArgumentParser) -> None:
    """--root, --rodir and --rwdir."""
    parser.add_argument(
        "--root",
        choices=root.NAMES,
        help="the guest's /: initramfs (the default, and the quickest), host (this machine's, to "
        "which no change of the guest's goes), or debian (a small one, with CONFIG's packages)",
    )
    for flag, what in (("--rodir", "let the guest read"), ("--rwdir", "let the guest change")):
        parser.add_argument(
            flag,
            metavar="DIR[=WHERE]",
            action="append",
            default=[],
            help=f"{what} this folder, at its own path or at WHERE (may be given again)",
        )


def folders(arguments: argparse.Namespace) -> list[ShareConfig]:
    """What --rodir and --rwdir name. ConfigError for what is no folder."""
    return [
        _folder(flag, text, readonly=flag == "--rodir")
        for flag in ("--rodir", "--rwdir")
        for text in getattr(arguments, flag.removeprefix("--"), ())
    ]


def _folder(flag: str, text: str, *, readonly: bool) -> ShareConfig:
    name, separator, where = text.rpartition("=/")
    host = Path(os.path.abspath(Path(name if separator else text).expanduser()))  # noqa: PTH100
    if not host.is_dir():
        hint = "name one that is there, as DIR or DIR=/WHERE"
        raise ConfigError(f"{flag}: no folder {host}", hint=hint)
    guest = f"/{where}" if separator else str(host)
    try:
        return ShareConfig(host=host, guest=PurePosixPath(guest), readonly=readonly)
    except ValidationError as error:
        cause = error.errors()[0]["ctx"]["error"]
        raise ConfigError(f"{flag}: {cause}") from None


def begin(words: Sequence[str], config: MachineConfig) -> str:
    """A guest's command, or a shell for none, as a line for the guest's shell.

    It begins in the folder where the person is, if the guest sees it.
    """
    here, line = Path.cwd(), shlex.join(words) or 'exec "$SHELL"'
    return f"cd {shlex.quote(str(here))}\n{line}" if config.sees(here) else line


def add_policy(parser: argparse.ArgumentParser) -> None:
    """--policy."""
    parser.add_argument(
        "--policy",
        choices=[policy.value for policy in Policy],
        help="what a device's touch does where no program advised: map pages in place, "
        "or move them to HBM first",
    )


def kernel(arguments: argparse.Namespace, config: KernelConfig) -> KernelConfig:
    """`config` with --kernel and --modules taken into account."""
    modules = getattr(arguments, "modules", None)
    if arguments.kernel is None:
        if modules is not None:
            raise ConfigError("--modules: of which bzImage?", hint="name it with --kernel")
        return config
    return called(arguments.kernel, config, modules=modules)


def add_models(parser: argparse.ArgumentParser, models: Sequence[str] | None) -> None:
    """--models; `models` makes a list of it. None: the default is somebody else's affair."""
    default = None if models is None else ",".join(models)
    shown = default or "those of the file, or all"
    parser.add_argument(
        "--models",
        metavar="LIST",
        default=default,
        help=f"which memory models, with commas (default: {shown})",
    )


def models(arguments: argparse.Namespace, known: Sequence[str]) -> list[str]:
    """What --models names, each once. ConfigError for a name that is not `known`."""
    names = [name.strip() for name in arguments.models.split(",")]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise ConfigError(f"no model {name!r}", hint=hint)
    return list(dict.fromkeys(names))


def positive(text: str) -> int:
    """A number from 1 on, for argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def load(arguments: argparse.Namespace) -> MachineConfig:
    """The configuration with what the command line adds to it. ConfigError if it is bad."""
    if _is_tree(Path(arguments.config)):
        if arguments.kernel is not None:
            raise ConfigError(
                f"{arguments.config} is a kernel tree, and --kernel names another",
                hint="write a description, and --kernel",
            )
        config = MachineConfig.load(OF_TREE)
        config = config.model_copy(update={"kernel": of_path(Path(arguments.config))})
    else:
        config = MachineConfig.load(arguments.config)
        config = config.model_copy(update={"kernel": kernel(arguments, config.kernel)})
    if getattr(arguments, "qemu", None) is not None:
        config = config.model_copy(update={"qemu": arguments.qemu})
    if getattr(arguments, "policy", None) is not None:
        config = config.model_copy(update={"policy": Policy(arguments.policy)})
    if getattr(arguments, "programs", None):
        config = config.with_programs(programs(arguments))
    if getattr(arguments, "root", None) not in (None, config.root.name):
        config = config.model_copy(update={"root": root.named(arguments.root)})
    if shares := folders(arguments):
        config = config.model_copy(update={"shares": (*config.shares, *shares)})
    config.check_files()
    return config


def _is_tree(path: Path) -> bool:
    return (path / "Kconfig").is_file() and (path / "Makefile").is_file()


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
        trace=None if arguments.trace is None else arguments.trace.expanduser().absolute(),
        echo=_echo if echo and arguments.verbose else None,
    )


def _echo(line: str) -> None:
    if READY not in line:
        print(line, file=sys.stderr)
