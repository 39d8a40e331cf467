"""How much is enough: less for a person who waits, more for a machine that does (LONG=1)."""

import os

LONG = bool(os.environ.get("DEVMODEL_LONG"))


def rounds(usual: int, long: int) -> int:
    """How often, or how many, of what finds more the longer it goes on."""
    return long if LONG else usual
