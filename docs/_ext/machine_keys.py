"""`{machine-keys}`: the keys of a machine's description, from the classes that check it.

Names, types and defaults are the classes' own. What a key means is said once, beside them: in the
docstring of `devmodel.machine.config` and in those of `Faults`' fields. A key that neither explains
is a warning, and so there is no documentation. (Those of an experiment are in docs/experiments.md,
which a test holds against its classes.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from devmodel import sizes
from devmodel.build.root import RootConfig
from devmodel.device.faults import Faults
from devmodel.machine import config
from devmodel.machine.config import MachineConfig

KINDS = {int: "number", bool: "`true`, `false`", str: "text"}
ROW = re.compile(r"(?P<key>[^\s,]+)(?:, (?P<second>\.\S+))? +(?P<default>\S+) *(?P<words>.*)")
NOTHING = ("none", '""', "[]")
# A description that is read from a file has its name.
BY_FILE = ("name",)
log = logging.getLogger(__name__)


class Key(NamedTuple):
    """A key as people write it, what may stand there, and what does if nobody writes it."""

    name: str
    kind: str
    default: str


def keys(whole: type[BaseModel] = MachineConfig, prefix: str = "") -> Iterator[Key]:
    """All keys of a part, and of those below it."""
    for name, field in whole.model_fields.items():
        below = _part(field.annotation)
        if below is not None:
            listed = "[]" if get_origin(field.annotation) is tuple else ""
            yield from keys(below, f"{prefix}{name}{listed}.")
            continue
        kind = _kind(field.annotation, field.metadata)
        yield Key(prefix + name, kind, _default(field.default, kind))


def _part(annotation: Any) -> type[BaseModel] | None:
    """The part that a field holds, be it in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_part, get_args(annotation))), None)


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """What may stand there, in words."""
    if any(getattr(item, "func", None) is sizes.parse for item in metadata):
        return "size, as `256M`"
    if get_args(annotation):
        # A list, something optional, or something with limits of its own.
        first, *rest = (item for item in get_args(annotation) if item is not type(None))
        return ("list of: " if get_origin(annotation) is tuple else "") + _kind(first, rest)
    if issubclass(annotation, Enum):
        return ", ".join(f"`{item.value}`" for item in annotation)
    if issubclass(annotation, PurePath):
        return "path"
    return KINDS[annotation]


def _default(value: object, kind: str) -> str:
    """A default as YAML has it; nothing where there is none to write."""
    if kind.startswith("size") and isinstance(value, int):
        return sizes.show(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | Enum | str) else ""


def explained() -> dict[str, tuple[str, str]]:
    """What people are told of each key: its default, and what it means."""
    found: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    default = ""
    for row in (config.__doc__ or "").split("\n====")[2].splitlines()[1:]:
        words = row.strip()
        if match := ROW.match(row):
            key, default, words = match["key"], match["default"], match["words"]
            names = [key, key.rpartition(".")[0] + match["second"]] if match["second"] else [key]
        for name in names:
            said = found[name][1] if name in found else ""
            found[name] = default, f"{said} {words}".strip()
    # What the table above says nothing of stands at the fields themselves.
    for part, key in ((Faults, "devices[].faults"), (RootConfig, "root")):
        said_there = ModuleAnalyzer.for_module(part.__module__).find_attr_docs()
        for name, field in part.model_fields.items():
            words = " ".join(said_there[part.__name__, name]).strip()
            found[f"{key}.{name}"] = _default(field.default, ""), words
    return found


class MachineKeys(SphinxDirective):
    """The directive; it takes nothing."""

    option_spec: ClassVar[dict[str, object]] = {}

    def run(self) -> list[nodes.Node]:
        """A table."""
        self.env.note_reread()
        known = explained()
        lines = ["| key | what it is | default | meaning |", "| --- | --- | --- | --- |"]
        for key in keys():
            default, meaning = known.get(key.name, ("", ""))
            where = self.get_location()
            if not meaning:
                log.warning("nothing says what %s means", key.name, location=where)
            elif key.default not in (default, "") and key.name not in BY_FILE:
                log.warning("%s is %s, not %s", key.name, key.default, default, location=where)
            shown = "" if default in NOTHING else f"`{default}`"
            lines.append(f"| `{key.name}` | {key.kind} | {shown} | {meaning} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("machine-keys", MachineKeys)
    return {"parallel_read_safe": True}
