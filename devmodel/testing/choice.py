"""Which machine a test wants, and for how long it is the test's."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

import pytest

from devmodel.build.config import located
from devmodel.cli import options
from devmodel.errors import ConfigError
from devmodel.machine import MachineConfig
from devmodel.machine.config import Policy
from devmodel.testing import settings
from devmodel.testing.pool import Life, Scope

DEFAULT = "private"
# Beside `scope`, what a marker may say: as the options of `devmodel run` of the same name.
CHANGES = ("kernel", "policy", "append", "programs", "qemu")
# What is said for tests that do not.
KERNEL, POLICY, APPEND = "--devmodel-kernel", "--devmodel-policy", "--devmodel-append"


def machine(request: pytest.FixtureRequest, description: str | None) -> MachineConfig:
    """By the test's marker, then the command line, then the ini file. ConfigError if bad."""
    marker = request.node.get_closest_marker("devmodel")
    said = {} if marker is None else dict(marker.kwargs)
    said.pop("scope", None)
    for name in said:
        if name not in CHANGES:
            close = difflib.get_close_matches(name, CHANGES, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CHANGES)}"
            raise ConfigError(f"mark.devmodel: unknown word {name}", hint=hint)
    here = request.node.path.parent
    if "kernel" in said:
        said["kernel"] = located(str(said["kernel"]), here)
    elif given := settings.option(request.config, KERNEL):
        said["kernel"] = located(given, settings.base(request.config, KERNEL))
    if "policy" not in said:
        said["policy"] = settings.option(request.config, POLICY) or None
    if said.get("policy") not in (None, *Policy):
        hint = f"there are {', '.join(Policy)}"
        raise ConfigError(f"no policy {said['policy']!r}", hint=hint)
    programs = said.get("programs", [])
    programs = [programs] if isinstance(programs, str | Path) else programs
    said["programs"] = [Path(_at(here, program)) for program in programs]
    for_all = settings.option(request.config, APPEND)
    append = said.pop("append", "")
    # What `devmodel run` makes of the same words.
    named = _at(_base(request, marker), description or DEFAULT)
    words: dict[str, Any] = dict.fromkeys(CHANGES) | said | {"config": named}
    config = options.load(argparse.Namespace(**words))
    append = " ".join(word for word in (config.append, for_all, append) if word)
    return config.model_copy(update={"append": append})


def _base(request: pytest.FixtureRequest, marker: pytest.Mark | None) -> Path:
    """What a description's path is relative to: the folder of whoever wrote it."""
    if marker is not None and marker.args:
        return Path(request.node.path.parent)
    return settings.base(request.config, "--devmodel")


def _at(base: Path, text: str | Path) -> str:
    """A file by its path from where that was written; what is no file there is a name."""
    path = base / Path(text).expanduser()
    return str(path if path.is_file() else text)


def life(request: pytest.FixtureRequest) -> Life:
    """What the VM is for, by the marker. ConfigError for no scope."""
    marker = request.node.get_closest_marker("devmodel")
    given = "session" if marker is None else marker.kwargs.get("scope", "session")
    node = request.node
    match given:
        case Scope.SESSION:
            return Life(Scope.SESSION)
        case Scope.FUNCTION:
            return Life(Scope.FUNCTION, node.nodeid)
        case Scope.MODULE:
            return Life(Scope.MODULE, str(node.path))
        case Scope.CLASS:
            name = getattr(node.cls, "__qualname__", node.nodeid)
            return Life(Scope.CLASS, f"{node.path} {name}")
    raise ConfigError(f"mark.devmodel: no scope {given!r}", hint=f"there are {', '.join(Scope)}")
