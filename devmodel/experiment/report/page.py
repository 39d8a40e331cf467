"""One HTML file with everything in it: no script, and nothing that is loaded from anywhere."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from devmodel.errors import ConfigError
from devmodel.experiment.report.drawing import DARK, LIGHT, Picture
from devmodel.experiment.report.figures import Figure
from devmodel.experiment.report.groups import Group
from devmodel.experiment.report.saved import Saved

TEMPLATE = "page.html.jinja"
UNKNOWN = "not known: the results do not say"


def write(
    files: Sequence[Saved],
    groups: Sequence[Group],
    found: Sequence[Figure],
    path: Path,
    drew: Callable[[], object] = lambda: None,
) -> None:
    """`drew` is called for each figure. ConfigError if it cannot be written."""
    text = render(files, groups, found, drew)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name another file") from error


def render(
    files: Sequence[Saved],
    groups: Sequence[Group],
    found: Sequence[Figure],
    drew: Callable[[], object],
) -> str:
    """The page."""
    import jinja2

    drawn = []
    for figure in found:
        drawn.append((figure, _sources(figure.picture)))
        drew()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    workloads = list(dict.fromkeys(group.workload for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    runs = [run for group in groups for run in group.runs]
    lost = dict.fromkeys((run.label, run.device_lost) for run in runs)
    return environment.get_template(TEMPLATE).render(
        light=LIGHT,
        dark=DARK,
        workloads=[(name, _what(files, name)) for name in workloads],
        labels=labels,
        wrong=[run for run in runs if not run.result.checked],
        right=sum(run.result.checked for run in runs),
        runs=len(runs),
        figures=drawn,
        lost=list(lost),
        files=[_file(saved) for saved in files],
    )


def _sources(picture: Picture | None) -> dict[str, str]:
    """The picture four times, by name, each as an address that holds it."""
    if picture is None:
        return {}
    return {
        f"{name}_{width}": _data(picture.svg(look, narrow=width == "narrow"))
        for name, look in (("light", LIGHT), ("dark", DARK))
        for width in ("wide", "narrow")
    }


def _data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _what(files: Sequence[Saved], workload: str) -> str:
    """What the experiment says of a workload; else what was run."""
    for saved in files:
        experiment = saved.made.get("experiment")
        listed = experiment.get("workloads") if isinstance(experiment, dict) else None
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and item.get("name") == workload:
                return str(item.get("what") or item.get("words") or "")
    return ""


def _file(saved: Saved) -> dict[str, Any]:
    """What is told of one file of results: how to repeat it, and what it was made with."""
    made = saved.made
    command = made.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    return {
        "name": saved.name,
        "command": shlex.join(words),
        "facts": _facts(saved) if made else [("made with", UNKNOWN)],
        "machines": [(model, _machine(found)) for model, found in saved.machines.items()],
    }


def _facts(saved: Saved) -> list[tuple[str, str]]:
    made = saved.made
    host = made.get("host")
    told: dict[str, Any] = host if isinstance(host, dict) else {}
    memory = told.get("memory_bytes")
    policies = dict.fromkeys(run.policy for run in saved.runs)
    facts = {
        "when": made.get("written"),
        "devmodel": made.get("devmodel"),
        "Python": made.get("python"),
        "host": told.get("system"),
        "processor": told.get("processor"),
        "processors used": told.get("processors"),
        "memory": f"{memory >> 20:,} MiB" if type(memory) is int and memory >= 0 else None,
        "policy": ", ".join(policies),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _machine(found: dict[str, Any]) -> dict[str, str]:
    names = ("kernel", "qemu", "accelerator")
    cells = {name: str(found.get(name) or "?") for name in names}
    return {**cells, "config": yaml.safe_dump(found.get("config", {}), sort_keys=False)}
