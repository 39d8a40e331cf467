"""What all descriptions (of machines, of experiments) have in common.

A part is a frozen object, made from YAML and checked once; it travels to other processes as JSON.
Every mistake in a file is one line: file, key, what is wrong, what would be right.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from devmodel import sizes
from devmodel.errors import ConfigError

Size = Annotated[int, BeforeValidator(sizes.parse)]
"""Bytes, written as people write them: 256M"""


class Strict(BaseModel):
    """A part of a description: no unknown keys, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Part = TypeVar("Part", bound=Strict)


def read(path: Path, *, example: str) -> dict[str, Any]:
    """The keys of a YAML file; none of an empty one.

    ConfigError for what is no file of keys; `example` is what one looks like.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name a readable file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file", hint="name a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_message(path, error), hint="mend the YAML there") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: holds a {type(data).__name__}", hint=f"write keys, like `{example}`"
        )
    return data


def check(whole: type[Part], data: dict[str, Any], path: Path) -> Part:
    """`data` as if it stood in the file `path`. ConfigError names the first mistake."""
    try:
        return whole.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_message(whole, path, error)) from None


def _yaml_message(path: Path, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{path}:{error.problem_mark.line + 1}: {error.problem}"
    return f"{path}: not YAML"


def _part_of(annotation: Any) -> type[BaseModel] | None:
    """The part that a field holds, be it in a list or optional; None if it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_part_of, get_args(annotation))), None)


def _keys(whole: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """The location as people write it, and the part that its last key belongs to."""
    text, owner = "", whole
    for depth, item in enumerate(location):
        if isinstance(item, int):
            text += f"[{item}]"
            continue
        text += f".{item}" if text else item
        field = owner.model_fields.get(item)
        if depth < len(location) - 1 and field is not None:
            owner = _part_of(field.annotation) or owner
    return text, owner


def _message(whole: type[BaseModel], path: Path, error: ValidationError) -> str:
    """The first mistake in one line. Unknown keys first: they explain the missing ones."""
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    key, owner = _keys(whole, first["loc"])
    where = f"{path}: {key}" if key else f"{path}"
    given = first["input"]
    match first["type"]:
        case "extra_forbidden":
            known = list(owner.model_fields)
            close = difflib.get_close_matches(str(first["loc"][-1]), known, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            return f"{where}: unknown key; {hint}"
        case "missing":
            return f"{where}: missing; add it"
        case "value_error":
            return f"{where}: {first['ctx']['error']}"
        case "enum":
            return f"{where}: {given!r} is not known; use {first['ctx']['expected']}"
        case kind if kind.startswith("int_"):
            return f"{where}: {given!r} is no whole number; write one like 2"
        case kind if kind.startswith("bool_"):
            return f"{where}: {given!r} is neither true nor false; write one of them"
        case kind if kind.startswith("string_"):
            return f"{where}: {given!r} is no text; put it in quotes"
        case "path_type":
            return f"{where}: {given!r} is no path; write one in quotes"
        case "tuple_type" | "list_type":
            return f"{where}: {given!r} is no list; begin its lines with '- '"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{where}: {given!r} has no keys; write them below it, indented"
        case _:
            return f"{where}: {first['msg']}"
