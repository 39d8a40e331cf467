"""How tables show numbers: headed by what they are called and their unit, bytes as MiB."""

from devmodel.abi.counters import BY_NAME, RISING, Unit

MIB = 1 << 20

# What only a workload itself can tell, and how it is headed.
TOLD = {
    "hbm_at_start": "HBM\nstart",
    "hbm_at_end": "HBM\nend",
    "spilled_pages": "spill\npages",
}
KNOWN = (*(counter.name for counter in RISING), "hbm_bytes_in_use", *TOLD)

# What `devmodel compare` shows if nothing else is asked for.
SHOWN = (
    "device_faults",
    "cpu_faults",
    "pages_to_device",
    "pages_to_system",
    "bytes_to_device",
    "bytes_to_system",
    "remote_bytes",
    "invalidates",
    *TOLD,
)


def heading(name: str) -> str:
    """Two lines. KeyError if there is no such column."""
    if name in TOLD:
        return TOLD[name]
    counter = BY_NAME[name]
    label = counter.label or name.replace("_", " ")
    return f"{label}\n{'MiB' if counter.unit is Unit.BYTES else counter.unit}"


def cell(name: str, value: float) -> str:
    """The value as it stands below that heading."""
    if BY_NAME[name].unit is Unit.BYTES:
        return f"{value / MIB:.1f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def meaning(name: str) -> str:
    """One line that explains a heading."""
    return f"{' '.join(heading(name).split())}: {BY_NAME[name].meaning}."
