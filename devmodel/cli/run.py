"""`devmodel run`: one guest for one command."""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path

from devmodel import link
from devmodel.build import guest
from devmodel.cli import bisect, options, output
from devmodel.errors import ConfigError
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
  $ devmodel run private --ktap --junit out.xml -- dm-test-access
  $ devmodel run private --ktap -- dm-test-access | tools/testing/kunit/kunit.py parse

your own kernel tree, and which of its commits broke what a command in the guest tests:
  $ devmodel run private --kernel ~/linux -- dm-test-migrate
  $ cd ~/linux && git bisect start BAD GOOD
  $ git bisect run devmodel run . --bisect -- dm-test-migrate

The guest command's exit code is passed through. With --ktap it is 0 if every test passed, and 1
if not, or if not all that were planned have results. If the guest does not survive the command, the
exit code is 250 (panic), 251 (oops, or the kernel complained), 252 (hang), 253 (device lost) or
255 (gone), with --ktap too; docs/testing.md has more on tests. With --bisect it is what
`git bisect run` understands: 0 good, 1 to 124 bad, 125 for a kernel that cannot be tested (it does
not build, or the driver does not against it, or it lacks an option), and more than 127, which ends
the bisection, if it is this machine that fails.
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
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"{output.RESULT_HELP}; with --ktap, not the KTAP but "
        '{"good", "tests", "counts", "planned", "exit_code", "troubles"}',
    )
    parser.add_argument(
        "--bisect",
        action="store_true",
        help="make the kernel tree first, and end as `git bisect run` wants it",
    )
    tests = parser.add_argument_group("tests")
    tests.add_argument(
        "--ktap",
        action="store_true",
        help="the command prints KTAP: pass it through to stdout, and judge it on stderr",
    )
    tests.add_argument(
        "--junit", metavar="FILE", type=Path, help="write the tests' results as JUnit XML"
    )
    parser.set_defaults(action=run, takes_command=True)


def run(arguments: argparse.Namespace) -> int:
    """The guest command's exit code."""
    if arguments.junit and not arguments.ktap:
        raise ConfigError("--junit is about tests", hint="add --ktap")
    if arguments.json and not arguments.guest_command:
        raise ConfigError("--json: of which command?", hint="write it after --")
    config = options.load(arguments)
    if arguments.bisect:
        config = bisect.made(config, arguments.guest_command)
    extra = options.machine_options(arguments, echo=True)
    if arguments.dry_run:
        print(dry_run(config, extra))
        return 0
    if arguments.ktap:
        # rich's tables, the XML: not for those who only want a command run.
        from devmodel.cli import ktap

        return ktap.run(
            config,
            extra,
            arguments.guest_command,
            timeout=arguments.timeout,
            junit_file=arguments.junit,
            as_json=arguments.json,
        )
    reporter = output.reporter()
    with Machine(config, reporter=reporter, options=extra) as vm:
        if not arguments.guest_command:
            return vm.shell.interactive(options.begin((), config))
        result = vm.run(
            options.begin(arguments.guest_command, config),
            stdin=output.stdin(),
            timeout=arguments.timeout,
            **({} if arguments.json else output.streams()),
        )
        code = result.exit_code
    if arguments.json:
        output.print_json(asdict(result))
    # Once the kernel had its last chance to complain.
    return bisect.of_command(code) if arguments.bisect else code


def dry_run(config: MachineConfig, extra: Options) -> str:
    """One line to paste, for what can be run without supervisor and agents."""
    built = guest.build(config.kernel, output.reporter(), qemu=config.qemu)
    accelerator = accel.choose(config.accel, built.emulator)
    # Where the line is pasted: there is no folder for a VM that nobody supervises.
    gdb = Path(f"{config.name}.gdb") if extra.gdb else None
    boot = qemu.Boot(built.emulator, built.kernel.image, built.image, extra.append, gdb, extra.qemu)
    return shlex.join(qemu.standalone(config, accelerator, boot, link.DEFAULT))
