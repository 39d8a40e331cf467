"""`devmodel kernels`: the kernels that are known to work, and what there is of them here."""

import argparse

from devmodel import sizes
from devmodel.build import catalogue, emulator, tree
from devmodel.cli import output

EPILOG = """\
examples:
  $ devmodel kernels
  $ devmodel build --kernel 7.2-own        build one now
  $ devmodel run private --kernel 6.1-own -- uname -r
  $ devmodel kernels --json | jq '.kernels[] | [.name, .version, .lock]'

stock: Debian's own, fetched in seconds, and the default. own: built from Debian's source, smaller
and sooner up, with what stock kernels lack: DEBUG_VM, IDLE_PAGE_TRACKING, GUP_TEST, a vmlinux
for --gdb. cdm, debug: own, with the patches that the model cdm needs, and with KASAN and lockdep.

A kernel's version is looked up when it is first needed and kept in the file that --json calls
lock; devmodel build --update looks anew. Other kernels: --kernel PATH.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `kernels`."""
    parser = commands.add_parser(
        "kernels",
        help="list the kernels that are known to work",
        description="List the kernels on which the driver's tests pass, whether they are here, and "
        "what is known of them. HMM-TESTS is how many of the kernel's own tests pass on our "
        "device; none fails. * marks what is booted where nothing names a kernel.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0."""
    entries = catalogue.entries()
    if arguments.json:
        tools, qemu = tree.find(), emulator.find_tree()
        data = {
            "kernels": [entry.as_dict() for entry in entries],
            "tools": None
            if tools is None
            else {"compiler": tools.compiler, "lock": str(tools.lock.path)},
            "qemu": None if qemu is None else {"version": ".".join(map(str, qemu.version))},
        }
        output.print_json(data)
        return 0
    lines = [("NAME", "KIND", "VERSION", "HERE", "SIZE", "HMM-TESTS", "WHOLE THP", "CDM")]
    for entry in entries:
        lines.append(
            (
                f"{entry.name}{' *' * entry.default}",
                entry.kind,
                entry.version or f"{entry.series}, newest",
                entry.state if entry.state != "none" else "no",
                sizes.rounded(entry.bytes) if entry.bytes else "-",
                str(entry.hmm_tests),
                "yes" if entry.whole_thp else "no",
                "yes" if "cdm" in entry.models else "no",
            )
        )
    output.print_table(lines)
    return 0
