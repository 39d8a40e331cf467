"""How tables show counters: headed by what they are called and their unit, bytes as MiB."""

from devmodel.abi.counters import BY_NAME, Unit

MIB = 1 << 20


def heading(name: str) -> str:
    """Two lines. KeyError if there is no such counter."""
    counter = BY_NAME[name]
    return f"{counter.label}\n{'MiB' if counter.unit is Unit.BYTES else counter.unit}"


def cell(name: str, value: int) -> str:
    """The value as it stands below that heading."""
    return f"{value / MIB:.1f}" if BY_NAME[name].unit is Unit.BYTES else f"{value}"


def meaning(name: str) -> str:
    """One line that explains a heading."""
    return f"{' '.join(heading(name).split())}: {BY_NAME[name].meaning}."
