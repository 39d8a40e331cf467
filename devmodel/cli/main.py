"""The command line: parses, calls one command, turns errors into exit codes."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import devmodel
from devmodel.cli import (
    bisect,
    build,
    cache,
    cc,
    check,
    compare,
    copy,
    demo,
    doctor,
    hmm_tests,
    kernels,
    probe,
    report,
    run,
    sweep,
    top,
    trace,
    vms,
)
from devmodel.cli.output import PROGRAM, show_error
from devmodel.errors import DevmodelError, ExitCode

DESCRIPTION = """\
Boot a Linux guest with a heterogeneous-memory device: its own MMU, its own HBM, its own DMA
engine, played by a process on this machine. No GPU, no special hardware, no patched QEMU.
"""

EXAMPLES = """\
- is this machine ready?
  $ devmodel doctor

- see the device at work under each memory model:
  $ devmodel demo

- which memory model suits which way of working? All workloads, all models:
  $ devmodel compare

- the same at every point of a grid, into one table; what is done is never done again:
  $ devmodel sweep sizes

- the same as a page with pictures:
  $ devmodel compare kv --json >kv.json; devmodel report kv.json

- run one command in a guest, and get its exit code:
  $ devmodel run private -- dmesg

- keep a guest, work in it, end it:
  $ devmodel start coherent
  $ devmodel exec -- cat /proc/iomem
  $ devmodel ssh
  $ devmodel stop

- what do the devices of all guests do, now?
  $ devmodel top

- files to and from it:
  $ devmodel put ./mine data/ /tmp
  $ devmodel get /tmp/out .

- the programs of this machine, whose files the guest cannot change:
  $ devmodel run private --root host --rwdir . -- ./mine

- your own kernel, your own parameters:
  $ devmodel run private --kernel ~/linux --append 'slub_debug=P' -- uname -r

- another kernel series:
  $ devmodel kernels
  $ devmodel run private --kernel 7.2 -- uname -r

- a program of your own for a guest, in C or C++:
  $ devmodel cc saxpy.c -o saxpy

- a program that prints KTAP: did all its tests pass, and was the kernel content?
  $ devmodel run private --ktap --junit out.xml -- dm-test-access

- see the QEMU command line, to paste it somewhere:
  $ devmodel run private --dry-run

- prove that a run was coherent:
  $ devmodel run private --trace out -- dm-model --ops 5000
  $ devmodel check out

- see what guest, driver and device do, on one clock, in Perfetto:
  $ devmodel trace private -- patterns kv

exit codes:
  the guest command's own, for run and exec; the compiler's, for cc; otherwise
  0 done          1 what was asked for could not be done, or is wrong
                  2 wrong usage or configuration   3 this machine is not ready
  4 build failed  5 launch failed                  6 the guest was not ready in time
  124 the command took too long       250 kernel panic
  251 kernel oops, BUG or WARNING     252 the guest hangs
  253 a device was lost               255 QEMU ended, or the guest is gone
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"{PROGRAM} {devmodel.__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (
        *(doctor, kernels, build, cache, run, vms, top, copy, cc),
        *(demo, compare, report, sweep, probe, hmm_tests, check, trace),
    ):
        module.add_commands(commands)
    return whole


def _verbosity(level: int) -> None:
    logging.basicConfig(
        level={0: logging.ERROR, 1: logging.INFO}.get(level, logging.DEBUG),
        format="%(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("paramiko", "qemu.qmp", "asyncio"):
        # A lost connection is reported once, by what it means, not by the libraries.
        floor = logging.DEBUG if level > 2 else logging.CRITICAL
        logging.getLogger(chatty).setLevel(floor)


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    words, separator, command = _split(arguments)
    if bisect.OPTION in words:
        return bisect.ended(lambda: _main(words, separator, command))
    return _main(words, separator, command)


def _main(words: list[str], separator: bool, command: list[str]) -> int:
    options = parser().parse_args(words)
    if separator and not getattr(options, "takes_command", False):
        parser().error(f"{options.command} takes no command after --")
    options.guest_command = command
    options.command_line = [PROGRAM, *words, *(["--"] if separator else []), *command]
    verbose: int = getattr(options, "verbose", 0)
    _verbosity(verbose)
    try:
        code: int = options.action(options)
    except DevmodelError as error:
        show_error(error, verbose)
        if getattr(options, "bisect", False):
            return bisect.of_error(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # `devmodel logs | head`: the reader has seen enough.
        return int(ExitCode.OK)
    return code


def _split(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Our own words, whether there is a `--`, and the guest's command after it."""
    words = list(arguments)
    if "--" not in words:
        return words, False, []
    at = words.index("--")
    return words[:at], True, words[at + 1 :]


def entry() -> None:
    """The console script."""
    # A SIGTERM ends a VM like Ctrl-C does: with its logs kept and its key removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = int(ExitCode.OK)
    try:
        try:
            code = main(sys.argv[1:])
        finally:
            # Here and not at Python's end, which complains of a reader that has seen enough.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer is for nobody.
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    entry()
