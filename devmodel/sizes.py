"""Sizes as people write them: `256M`, `2G`, `4096`."""

import re

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
EXAMPLE = "write a whole number with K, M or G, like 256M"
_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse(text: object) -> int:
    """Bytes in `text` (binary units; a plain number is bytes). ValueError if it is no size."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a size; {EXAMPLE}")
    return int(match[1]) * UNITS[match[2].upper()]


def show(size: int) -> str:
    """`size` in the largest unit that gives a whole number."""
    for unit in ("T", "G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def rounded(size: int) -> str:
    """`size` for people, to a digit behind the point: `1.5 GiB`, `12 MiB`."""
    if size >= 1 << 30:
        return f"{size / (1 << 30):.1f} GiB"
    return f"{size / (1 << 20):.0f} MiB"
