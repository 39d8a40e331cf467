"""`devmodel cache`: what was downloaded and built, and why it is kept."""

import argparse

from devmodel import paths, sizes
from devmodel.build import inventory, kernel
from devmodel.build.cache import folder
from devmodel.build.config import NAMED
from devmodel.cli import output

EPILOG = """\
examples:
  $ devmodel cache                 what lies there, and what uses it
  $ devmodel cache prune           remove what nothing uses any more, and downloads
  $ devmodel cache prune --all     remove everything; the next run fetches and builds it again

The cache is $DEVMODEL_CACHE, or devmodel/ in $XDG_CACHE_HOME or ~/.cache.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `cache`."""
    parser = commands.add_parser(
        "cache",
        help="show what was downloaded and built, or remove what nothing uses",
        description="Show what lies in the cache and what uses it; or remove what nothing does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=("prune",), help="remove what nothing uses")
    parser.add_argument("--all", action="store_true", help="prune: everything")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0."""
    from devmodel.experiment import corpus

    texts = {}
    for name, config in NAMED.items():
        if (found := kernel.find(config)) is not None:
            texts[folder("corpus", corpus.name(found))] = f"text for workloads, of {name}"
    entries = inventory.entries(texts)
    if arguments.what == "prune":
        entries = list(inventory.prune(entries, everything=arguments.all))
    total = sum(entry.bytes for entry in entries)
    if arguments.json:
        key = "removed" if arguments.what else "entries"
        output.print_json({key: [entry.as_dict() for entry in entries], "bytes": total})
        return 0
    if entries:
        lines = [("SIZE", "ENTRY", "REMOVED" if arguments.what else "WHAT FOR")]
        for entry in entries:
            why = "" if arguments.what else entry.why or "nothing: devmodel cache prune"
            lines.append((sizes.rounded(entry.bytes), entry.name, why))
        output.print_table(lines)
    verb = "removed from" if arguments.what else "in"
    output.reporter().note(f"{sizes.rounded(total)} {verb} {paths.cache()}")
    return 0
