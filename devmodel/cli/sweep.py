"""`devmodel sweep`: an experiment at every point of a grid, in one table."""

import argparse
from pathlib import Path

from devmodel.cli import options, output
from devmodel.errors import ConfigError
from devmodel.experiment import config as experiments
from devmodel.experiment.config import Experiment

EPILOG = """\
examples:
  $ devmodel sweep sizes.yaml                      what is missing of it, into sizes.parquet
  $ devmodel sweep sizes.yaml --dry-run            which cells there are, and which are done
  $ devmodel sweep sizes.yaml -o table.parquet --jobs 2
  $ devmodel sweep sizes.yaml --again failed       and those once more that were not right
  $ devmodel sweep sizes.yaml --scheduler tcp://head:8786

  $ python3 -c 'import pyarrow.parquet as pq; print(pq.read_table("sizes.parquet").to_pandas())'

  sizes.yaml, as an example that ships (it may be named without its path):
    models: [mirror, private]
    sweep: {{sizes: [64K, 256K], policies: [in_place, on_touch], seeds: 2}}
    workloads:
      - {{name: fill, command: [dm-run, fill, "@{{size}}", "1024", "{{seed}}"]}}

A cell is one run. A finished one is kept by what went into it (arguments, files, kernel, driver,
device) and never run again, whether the sweep was killed, or the experiment has grown since.

Exit code 0 only if every cell is right; else the failing ones are named, all others are run and
kept. Ctrl-C keeps what is finished, writes that, and ends with 130.
""".replace("{{", "{").replace("}}", "}")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `sweep`."""
    parser = commands.add_parser(
        "sweep",
        help="run an experiment at every point of a grid; write one Parquet table",
        description="Run each workload of an experiment file under every model, kernel, policy, "
        "size and seed that it names, as far as that is not done yet (docs/sweeps.md).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", help="an experiment file, or the name of one that ships"
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        type=Path,
        help="the table (default: the experiment's name, as in sizes.parquet)",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=options.positive,
        help="guests at a time on this machine (default: as many as there is room for)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run the cells on the workers of this Dask scheduler, as tcp://HOST:8786",
    )
    parser.add_argument(
        "--again",
        choices=["failed", "all"],
        default="",
        help="run cells though they are finished: those that were not right, or all",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and which are done; run none"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options.add_verbose(parser)
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every cell is right."""
    from devmodel.experiment.sweep import cluster, place, sweep

    if arguments.scheduler is not None and arguments.jobs is not None:
        raise ConfigError(
            "--jobs and --scheduler exclude each other", hint="workers have --nthreads"
        )
    path = _find(arguments.file)
    experiment = Experiment.load(path)
    experiment.check_files(str(path))
    if arguments.dry_run:
        _list(sweep.listed(experiment, ask=sweep.recognize), json=arguments.json)
        return 0
    where = (
        place.local(arguments.jobs)
        if arguments.scheduler is None
        else cluster.cluster(arguments.scheduler)
    )
    return sweep.run(
        experiment,
        where,
        output.stderr(),
        out=(arguments.out or Path(f"{path.stem}.parquet")).expanduser().absolute(),
        json=arguments.json,
        again=arguments.again,
    )


def _find(name: str) -> Path:
    """The experiment file: a path, or the name of one that ships."""
    path = Path(name).expanduser()
    shipped = experiments.SHIPPED / f"{name}.yaml"
    return shipped if "/" not in name and not path.exists() and shipped.is_file() else path


def _list(cells: list[dict[str, object]], *, json: bool) -> None:
    if json:
        output.print_json({"cells": cells})
        return
    for cell in cells:
        print(f"{cell['outcome'] if cell['done'] else 'missing':12} {cell['cell']}")
    done = sum(bool(cell["done"]) for cell in cells)
    print(f"{len(cells)} cells: {done} done, {len(cells) - done} missing")
