"""`devmodel report`: results as a page that can be shown."""

import argparse
from pathlib import Path

from devmodel.cli import options, output
from devmodel.errors import ConfigError

EPILOG = """\
examples:
  $ devmodel compare ping-pong kv --json >results.json
  $ devmodel report results.json                      writes results.html
  $ devmodel report results.json -o kv.html --pictures kv
  $ devmodel compare kv --json | devmodel report - -o kv.html

  two side by side; what differs between them (policy, kernel, the file) is in the labels:
  $ devmodel compare --program ./mine --policy in_place --json >in-place.json
  $ devmodel compare --program ./mine --policy on_touch --json >on-touch.json
  $ devmodel report in-place.json on-touch.json -o both.html

The page is one file without script, and needs no network: send it to whom you like. It holds the
command line and the machines' descriptions, and so paths of this machine.

Exit code 0 if all is written and every run in it is right, 1 if a run is not (the page is written
all the same), 2 for what are no results.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `report`."""
    parser = commands.add_parser(
        "report",
        help="make one page with pictures of what `devmodel compare --json` wrote",
        description="Write results as one HTML file that can be read without a network: what was "
        "compared on what, a picture and a table for each question, and how to repeat it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results",
        metavar="RESULTS.json",
        nargs="+",
        type=Path,
        help="what `devmodel compare --json` wrote, or - for stdin",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        type=Path,
        help="write the page there (default: beside the first RESULTS, as .html)",
    )
    parser.add_argument(
        "--pictures", metavar="DIR", type=Path, help="write the pictures there, as SVG and PNG"
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every run in it is right."""
    # Only this command needs what draws; the others start faster without.
    from devmodel.experiment.report import page, pictures, saved

    paths: list[Path] = arguments.results
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("the same results twice", hint="name each file once")
    target: Path = arguments.output or _beside(paths[0], saved.STDIN)
    if not target.parent.is_dir():
        raise ConfigError(f"-o: no folder {target.parent}", hint="make it first")
    files = [saved.load(path) for path in paths]
    groups, found = pictures.of(files)
    reporter = output.reporter(quiet=arguments.json)
    with reporter.step("drawing", len(found)) as step:
        page.write(files, groups, found, target, step.advance)
        written = [] if arguments.pictures is None else pictures.write(found, arguments.pictures)
    wrong = [run for group in groups for run in group.runs if not run.result.checked]
    if arguments.json:
        output.print_json(
            {
                "report": str(target),
                "pictures": [str(path) for path in written],
                "runs": sum(len(group.runs) for group in groups),
                "wrong": [
                    {
                        "model": run.label,
                        "workload": run.workload,
                        "run": run.number,
                        "why": run.why,
                    }
                    for run in wrong
                ],
            }
        )
    else:
        for path in (target, *written):
            print(path)
    for run in wrong:
        why = " ".join("".join(c if c.isprintable() else " " for c in run.why).split())
        output.reporter().note(f"{run.label}: {run.workload}: {why}")
    return 1 if wrong else 0


def _beside(results: Path, stdin: Path) -> Path:
    if results == stdin:
        return Path("report.html")
    target = results.with_suffix(".html")
    if target == results:
        raise ConfigError(f"{results} would be written over", hint="name another file with -o")
    return target
