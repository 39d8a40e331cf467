"""Device programs: those that every device has, one a file, and how to declare more."""

from __future__ import annotations

from devmodel.device.access import BadArgument
from devmodel.device.access import ProgramMemory as Memory
from devmodel.device.programs import (
    atomic_add,
    bfs,
    copy,
    fill,
    graph_bfs,
    hash_lookup,
    histogram,
    kv,
    list_walk,
    saxpy,
    stencil,
    sum,
    word_count,
)
from devmodel.device.programs.registry import (
    Program,
    ProgramError,
    load_programs,
    program,
    programs_of,
)

_MODULES = (
    atomic_add,
    bfs,
    copy,
    fill,
    graph_bfs,
    hash_lookup,
    histogram,
    kv,
    list_walk,
    saxpy,
    stencil,
    sum,
    word_count,
)

BUILTIN: dict[str, Program] = {
    name: found for module in _MODULES for name, found in programs_of(module).items()
}

__all__ = [
    "BUILTIN",
    "BadArgument",
    "Memory",
    "Program",
    "ProgramError",
    "load_programs",
    "program",
]
