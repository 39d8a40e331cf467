"""`devmodel start | stop | ps | exec | ssh | logs`: VMs that outlive the command."""

import argparse
import contextlib
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from devmodel.cli import detached, options, output, reach
from devmodel.errors import ConfigError, DevmodelError
from devmodel.machine import rundir
from devmodel.machine.rundir import VmInfo
from devmodel.machine.shell import LOOPBACK

HOLDER_COLUMNS = 80
LOGS = {"console": "console.log", "dmesg": "dmesg", "qemu": "qemu.log", "keeper": "keeper.log"}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add all six."""
    start = commands.add_parser(
        "start",
        help="boot a guest and leave it running",
        description="Boot a guest and leave it running; prints its name on stdout.",
        epilog="examples:\n  $ devmodel start private\n  $ devmodel start coherent --name second",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_config(start)
    start.add_argument("--name", help="another name than the description's")
    options.add_machine(start)
    _add_json(start, "what `devmodel ps --json` has of it, not its name alone")
    start.set_defaults(action=run_start)

    stop = commands.add_parser(
        "stop",
        help="end a running guest",
        description="End a guest that `devmodel start` started; its logs stay. Guests of other "
        "programs (tests, notebooks, `devmodel run`) are ended by these.",
        epilog="examples:\n  $ devmodel stop\n  $ devmodel stop second\n  $ devmodel stop --all",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_name(stop)
    stop.add_argument("--all", action="store_true", help="every one that devmodel start started")
    _add_json(stop, "what `devmodel ps --json` has of those that were ended")
    options.add_verbose(stop)
    stop.set_defaults(action=run_stop)

    ps = commands.add_parser(
        "ps",
        help="list guests",
        description="List the guests that run.",
        epilog="examples:\n  $ devmodel ps\n"
        "  $ devmodel ps --all --json | jq '.[] | [.name, .ending]'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ps.add_argument("-a", "--all", action="store_true", help="those that ended, too")
    _add_json(ps, "as JSON")
    ps.set_defaults(action=run_ps)

    execute = commands.add_parser(
        "exec",
        help="run a command in a running guest",
        usage="%(prog)s [NAME] [options] -- COMMAND [ARGUMENT ...]",
        description="Run a command in a running guest; its exit code is passed through.",
        epilog="examples:\n  $ devmodel exec -- cat /proc/iomem\n"
        "  $ devmodel exec hmm-private -- sh -c 'dmesg | tail'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_name(execute)
    execute.add_argument("--timeout", metavar="SECONDS", type=float, default=3600.0)
    _add_json(execute, output.RESULT_HELP)
    options.add_verbose(execute)
    execute.set_defaults(action=run_exec, takes_command=True)

    ssh = commands.add_parser(
        "ssh",
        help="a shell in a running guest",
        usage="%(prog)s [NAME] [-- COMMAND [ARGUMENT ...]]",
        description="A shell (or a command on a terminal) in a running guest.",
        epilog="examples:\n  $ devmodel ssh\n  $ devmodel ssh second -- top",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_name(ssh)
    _add_json(ssh, "start no shell: say how other programs log in there")
    options.add_verbose(ssh)
    ssh.set_defaults(action=run_ssh, takes_command=True)

    logs = commands.add_parser(
        "logs",
        help="show a guest's logs, running or ended",
        description="Print the console's log of the guest NAME, or of the one started last.",
        epilog="examples:\n  $ devmodel logs\n  $ devmodel logs second --agent 0\n"
        "  $ ls $(devmodel logs --path)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_name(logs)
    _add_json(logs, "the log's path and its lines")
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--dmesg", action="store_const", dest="which", const="dmesg")
    which.add_argument(
        "--qemu",
        action="store_const",
        dest="which",
        const="qemu",
        help="QEMU's command line, and what it said",
    )
    which.add_argument("--agent", metavar="N", type=int, help="the log of device N's agent")
    which.add_argument("--path", action="store_true", help="print the folder of all logs")
    options.add_verbose(logs)
    logs.set_defaults(action=run_logs, which="console")


def _add_json(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--json", action="store_true", help=words)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="as `devmodel ps` shows it; may be left out if there is only one",
    )


def run_start(arguments: argparse.Namespace) -> int:
    """0; the VM's name is on stdout."""
    from devmodel.cli.run import dry_run

    config = options.load(arguments)
    if arguments.name is not None:
        config = config.renamed(arguments.name)
    extra = options.machine_options(arguments)
    if arguments.dry_run:
        print(dry_run(config, extra))
        return 0
    if extra.gdb:
        raise ConfigError("start does not wait for a debugger", hint="use devmodel run --gdb")
    name = detached.start(config, extra)
    if arguments.json:
        output.print_json(_described(*rundir.running(name)))
    else:
        print(name)
    return 0


def run_stop(arguments: argparse.Namespace) -> int:
    """0, or the exit code of what the guest's kernel complained of."""
    if arguments.all:
        there = [item for item in rundir.everything() if item[1].state != "ended"]
        chosen = [item for item in there if item[1].ours]
        for _, info in there:
            if not info.ours:
                output.reporter().note(f"{_holder(info)}; it is left alone")
    else:
        chosen = [rundir.running(arguments.name)]
        for _, info in chosen:
            if not info.ours:
                raise ConfigError(_holder(info), hint="end it there: stop ends no such process")
    code, rows = 0, []
    for folder, _ in chosen:
        info = detached.stop(folder)
        rows.append(_described(folder, info))
        if info.ending:
            output.show_error(DevmodelError(f"{info.name}: {info.ending}"), 0)
        code = code or info.exit_code
    if arguments.json:
        output.print_json(rows)
    return code


def _models(info: VmInfo) -> list[str]:
    """The devices' models; none if another version wrote a configuration that is no more."""
    try:
        return [device.model.value for device in detached.config_of(info).devices]
    except ValidationError:
        return []


def _states(info: VmInfo) -> list[str]:
    """What is known of each device from outside."""
    lost = info.lost_devices
    return ["lost" if number in lost else "running" for number in range(len(info.restarts))]


def _holder(info: VmInfo) -> str:
    """Who holds a VM that devmodel did not start a keeper for, in words."""
    words = shlex.join(rundir.command_line(info.pid))
    shown = words if len(words) <= HOLDER_COLUMNS else f"{words[: HOLDER_COLUMNS - 3]}..."
    return f"{info.name} is held by process {info.pid}: {shown or 'unknown'}"


def _described(folder: Path, info: VmInfo) -> dict[str, object]:
    """A VM for machines."""
    return {
        "name": info.name,
        "state": info.state,
        "pid": info.pid,
        "keeper": info.keeper,
        "port": info.port,
        "devices": _models(info),
        "lost_devices": list(info.lost_devices),
        "device_states": _states(info),
        "generations": [count + 1 for count in info.restarts],
        "restarts": list(info.restarts),
        "kernel": info.kernel,
        "accelerator": info.accelerator,
        "started": info.started,
        "ending": info.ending,
        "folder": str(folder),
    }


def run_ps(arguments: argparse.Namespace) -> int:
    """0; a table, or JSON, on stdout."""
    rows = [
        _described(folder, info)
        for folder, info in rundir.everything()
        if info.state != "ended" or arguments.all
    ]
    if arguments.json:
        output.print_json(rows)
        return 0
    lines = [("NAME", "STATE", "DEVICES", "KERNEL", "ACCEL", "AGE", "ENDING")]
    for row in rows:
        age = str(timedelta(seconds=int(time.time() - float(str(row["started"])))))
        devices = ",".join(row["devices"]) if isinstance(row["devices"], list) else ""
        state = f"{row['state']}, device lost" if row["lost_devices"] else str(row["state"])
        lines.append(
            (
                str(row["name"]),
                state,
                devices or "-",
                str(row["kernel"]),
                str(row["accelerator"]),
                age,
                str(row["ending"]),
            )
        )
    output.print_table(lines)
    return 0


def run_exec(arguments: argparse.Namespace) -> int:
    """The guest command's exit code."""
    if not arguments.guest_command:
        raise ConfigError("exec: no command", hint="write it after --, or use devmodel ssh")
    folder, info = rundir.running(arguments.name)
    shown = f"`{shlex.join(arguments.guest_command)}`"
    with reach.shell(folder, info, shown, arguments.timeout) as shell:
        streams = {} if arguments.json else output.streams()
        done = shell.run(
            options.begin(arguments.guest_command, detached.config_of(info)),
            stdin=output.stdin(),
            timeout=arguments.timeout,
            **streams,
        )
    if arguments.json:
        output.print_json(asdict(done))
    return done.exit_code


def run_ssh(arguments: argparse.Namespace) -> int:
    """The exit code of the guest's shell."""
    folder, info = rundir.running(arguments.name)
    if arguments.json:
        # What belongs into a known_hosts file, too: nobody else is to be taken for this guest.
        output.print_json(
            {
                "host": LOOPBACK,
                "port": info.port,
                "user": "root",
                "key": str(folder / rundir.KEY),
                "known_hosts": f"[{LOOPBACK}]:{info.port} {info.host_key}",
            }
        )
        return 0
    with reach.shell(folder, info) as shell:
        return shell.interactive(options.begin(arguments.guest_command, detached.config_of(info)))


def run_logs(arguments: argparse.Namespace) -> int:
    """0; the log is on stdout."""
    found = list(rundir.everything())
    if arguments.name is not None:
        found = [item for item in found if item[1].name == arguments.name]
        if not found:
            raise ConfigError(f"no VM was called {arguments.name}", hint="see devmodel ps -a")
    if not found:
        raise ConfigError("no VM was started yet", hint="devmodel start starts one")
    folder, info = max(found, key=lambda item: item[1].started)
    if arguments.path:
        if arguments.json:
            output.print_json({"name": info.name, "folder": str(folder)})
        else:
            print(folder)
        return 0
    name = LOGS[arguments.which] if arguments.agent is None else f"agent{arguments.agent}.log"
    path = folder / name
    if not path.exists():
        hint = "it is kept when the VM ends" if name == "dmesg" else f"there are: {_names(folder)}"
        raise ConfigError(f"{info.name} has no {name}", hint=hint)
    if arguments.json:
        lines = path.read_text(errors="replace").splitlines()
        output.print_json({"name": info.name, "log": str(path), "lines": lines})
        return 0
    # What QEMU says means little without what it was asked.
    for part in (folder / rundir.COMMAND, path) if name == LOGS["qemu"] else (path,):
        with contextlib.suppress(FileNotFoundError), part.open("rb") as log:
            shutil.copyfileobj(log, output.binary(sys.stdout))
    return 0


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix))
