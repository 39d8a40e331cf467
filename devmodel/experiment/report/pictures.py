"""The pictures of a report as files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devmodel.errors import ConfigError
from devmodel.experiment.report import figures, variants
from devmodel.experiment.report.figures import Figure
from devmodel.experiment.report.groups import Group, grouped
from devmodel.experiment.report.saved import Saved


def of(files: Sequence[Saved]) -> tuple[list[Group], list[Figure]]:
    """All groups of runs, and every question with its picture."""
    groups = grouped(variants.merged(files))
    show = list(dict.fromkeys(name for saved in files for name in saved.show))
    return groups, figures.all_of(groups, show)


def write(found: Sequence[Figure], folder: Path) -> list[Path]:
    """Each picture as SVG and PNG, named after its question. ConfigError if they cannot be."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in found:
            if figure.picture is not None:
                svg, png = (folder / f"{figure.key}{suffix}" for suffix in (".svg", ".png"))
                svg.write_text(figure.picture.svg())
                png.write_bytes(figure.picture.png())
                written += [svg, png]
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}", hint="name another folder") from error
    return written
