"""`devmodel compare`: workloads under every memory model, in one report."""

import argparse
import difflib
from pathlib import Path

from devmodel.build.config import NAMED
from devmodel.cli import options, output
from devmodel.device.config import DeviceModel
from devmodel.errors import ConfigError
from devmodel.experiment import config as experiments
from devmodel.experiment.config import Experiment
from devmodel.machine.config import Policy

MODELS = tuple(model.value for model in DeviceModel)

EPILOG = """\
workloads, if no file and no program is named:
{workloads}

examples:
  $ devmodel compare                                 everything: some minutes
  $ devmodel compare ping-pong kv
  $ devmodel compare stream --models private,coherent
  $ devmodel compare --csv table.csv --report table.html
  $ devmodel compare kv --models private --kernels 7.2,~/linux
  $ devmodel compare kv --json | jq '.results[] | [.model, .remote_bytes]'

  a program of your own, statically linked, or a script for the guest's shell:
  $ devmodel compare --program ./mine -- 4096
  $ devmodel compare --program ./mine --same-output --repeat 5 --policy on_touch -- 4096
  $ devmodel compare --program ./mine --programs triple.py --models private,coherent

  more programs, their files and what is expected of them (docs/experiments.md has the keys):
  $ devmodel compare triple.yaml
  $ devmodel compare triple.yaml small --models numa

Exit code 0 only if every run is right: it ended as it should, printed what it should, and was
content with what it checked itself. A guest that fails costs what its model still had to do and
gives its exit code; all else is kept and shown. So is what was finished when Ctrl-C comes.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `compare`."""
    shipped = Experiment.load().workloads
    listed = "\n".join(f"  {item.title:19} {item.what}" for item in shipped)
    parser = commands.add_parser(
        "compare",
        help="run workloads, or a program of your own, under every memory model; show what differs",
        usage="%(prog)s [FILE.yaml] [WORKLOAD ...] [options]\n"
        "       %(prog)s --program PATH [options] [-- ARGUMENT ...]",
        description="Boot a guest for each memory model, run the workloads in it one after the "
        "other, lose its device at the end, and compare.",
        epilog=EPILOG.format(workloads=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words",
        metavar="FILE.yaml|WORKLOAD",
        nargs="*",
        help="an experiment file, and which of its workloads (default: all)",
    )
    parser.add_argument(
        "--program",
        metavar="PATH",
        action="append",
        type=Path,
        default=[],
        help="run this file in each guest, with the arguments after -- (may be given again)",
    )
    parser.add_argument(
        "--same-output",
        action="store_true",
        help="what a --program prints has to be the same under every model",
    )
    options.add_models(parser, None)
    parser.add_argument(
        "--kernels",
        metavar="LIST",
        help="on each of these kernels, with commas: names of devmodel kernels, or paths",
    )
    options.add_programs(parser)
    options.add_policy(parser)
    parser.add_argument(
        "--repeat", metavar="N", type=options.positive, help="run each workload N times"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=options.positive, help="for each run (default: 240)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write all numbers there, too")
    parser.add_argument(
        "--report", metavar="FILE.html", type=Path, help="write a page with pictures, too"
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=options.positive,
        default=1,
        help="models at a time; more than one is quicker, but wall times then tell less",
    )
    options.add_verbose(parser)
    parser.set_defaults(action=run, takes_command=True)


def run(arguments: argparse.Namespace) -> int:
    """0 if every run is right."""
    from devmodel.experiment import compare

    return compare.run(
        experiment(arguments),
        json=arguments.json,
        csv=arguments.csv,
        report=arguments.report,
        command=arguments.command_line,
        jobs=arguments.jobs,
        console=output.stderr(),
    )


def experiment(arguments: argparse.Namespace) -> Experiment:
    """What the command line asks for. ConfigError if that cannot be."""
    found = _programs(arguments) if arguments.program else _file(arguments)
    change: dict[str, object] = {}
    if arguments.models is not None:
        change["models"] = tuple(map(DeviceModel, options.models(arguments, MODELS)))
    if arguments.kernels is not None:
        change["kernels"] = _kernels(arguments.kernels)
    if arguments.policy is not None:
        change["policy"] = Policy(arguments.policy)
    if arguments.programs:
        change["programs"] = (*found.programs, *options.programs(arguments))
    return found.model_copy(update=change).limited(arguments.repeat, arguments.timeout)


def _kernels(text: str) -> tuple[str, ...]:
    """What --kernels names. ConfigError for what is no kernel."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in NAMED and not Path(name).expanduser().exists():
            close = difflib.get_close_matches(name, NAMED, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMED)}"
            raise ConfigError(f"no kernel {name!r}", hint=f"{hint}; or name a tree or a bzImage")
    return names


def _programs(arguments: argparse.Namespace) -> Experiment:
    if arguments.words:
        raise ConfigError(
            f"--program and {arguments.words[0]!r} exclude each other",
            hint="write arguments of the program after --",
        )
    found = experiments.of_programs(
        arguments.program, arguments.guest_command, same_output=arguments.same_output
    )
    found.check_files("--program")
    return found


def _file(arguments: argparse.Namespace) -> Experiment:
    if arguments.guest_command:
        raise ConfigError("arguments after --, and no --program", hint="name the program")
    if arguments.same_output:
        raise ConfigError(
            "--same-output is for a --program", hint="write expect: {same_output: true}"
        )
    files = [word for word in arguments.words if word.endswith(experiments.SUFFIXES)]
    if len(files) > 1:
        raise ConfigError(f"{files[1]}: a second experiment file", hint="name one at a time")
    path = Path(files[0]).expanduser() if files else experiments.DEFAULT
    names = [word for word in arguments.words if word not in files]
    found = Experiment.load(path).chosen(names)
    if found.sweep is not None:
        raise ConfigError(f"{path}: has a sweep", hint=f"devmodel sweep {path} runs all of it")
    found.check_files(str(path))
    return found
