"""`devmodel kernels`: the kernel series that are known to work."""

import argparse

from devmodel.build import kernel, source
from devmodel.build.config import KernelConfig
from devmodel.build.series import SERIES
from devmodel.cli import output

EPILOG = """\
examples:
  $ devmodel kernels
  $ devmodel build --kernel 7.2        build one now
  $ devmodel run private --kernel 7.2 -- uname -r

In a description it is `kernel: {series: "7.2"}`. A source package with a suite beside it is
downloaded when it is first needed, from this machine's Debian mirror, and kept in the cache.
Other kernels: --kernel PATH.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `kernels`."""
    parser = commands.add_parser(
        "kernels",
        help="list the kernel series that are known to work",
        description="List the kernel series on which the driver's tests pass, whether they are "
        "built, and what is known of them. HMM-TESTS is how many of the kernel's own tests pass "
        "on our device: all that the series has.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0."""
    rows = []
    for series in SERIES.values():
        found = source.present(series)
        built = kernel.find(KernelConfig(series=series.name))
        rows.append(
            {
                "series": series.name,
                "package": series.package,
                "suite": series.suite,
                "version": found.version if found else None,
                "release": built.release if built else None,
                "image": str(built.image) if built else None,
                "hmm_tests": series.hmm_tests,
                "whole_thp": series.whole_thp,
            }
        )
    if arguments.json:
        output.print_json({"kernels": rows})
        return 0
    lines = [("SERIES", "SOURCE", "FROM", "VERSION", "BUILT", "HMM-TESTS", "WHOLE THP")]
    for row in rows:
        lines.append(
            (
                str(row["series"]),
                str(row["package"]),
                str(row["suite"] or "installed"),
                str(row["version"] or "-"),
                str(row["release"] or "no"),
                str(row["hmm_tests"]),
                "yes" if row["whole_thp"] else "no",
            )
        )
    output.print_table(lines)
    return 0
