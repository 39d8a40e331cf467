"""Kernel series that the guest may boot, and what is known of each.

A series is known here if the driver's tests and the kernel's own HMM tests pass on it. Others
may work: name a source tree (``--kernel PATH``).
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Where a kernel comes from."""

    STOCK = "stock"
    """the distribution's own, as it is"""
    OWN = "own"
    """built from the distribution's source, small, with the options that tests like"""
    PATCHED = "patched"
    """own, with the patches for coherent device memory"""
    DEBUG = "debug"
    """own, with KASAN, lockdep and friends"""


@dataclass(frozen=True)
class Series:
    """A kernel series. Debian's packages of it are `version`'s."""

    name: str
    """as in "7.2-own" """
    version: str
    """as in "7.2" """
    kind: Kind
    suite: str
    """where its source package is"""
    hmm_tests: int
    """tests of its hmm-tests that pass on our device; the others are skipped, on any device"""
    whole_thp: bool
    """whether the kernel migrates a transparent huge page to device memory as one"""
    build_lines: int = 0
    """lines that make prints for base.config: for the bar only"""


BACKPORTS = "trixie-backports"
# Stock kernels in the order in which they are preferred.
SERIES = {
    series.name: series
    for series in (
        # Two tests of hmm-tests want GUP_TEST, which is off in it and cannot be a module: it calls
        # what is not exported to any.
        Series("7.2", "7.2", Kind.STOCK, BACKPORTS, 74, True),
        Series("7.3", "7.3", Kind.STOCK, BACKPORTS, 74, True),
        Series("7.2-own", "7.2", Kind.OWN, BACKPORTS, 76, True, 2060),
        Series("6.1-own", "6.1", Kind.OWN, "bookworm", 58, False, 1850),
    )
}
# What an own kernel is built from where nothing says so, the best first.
OWN = tuple(name for name, series in SERIES.items() if series.kind is Kind.OWN)
STOCK = tuple(name for name, series in SERIES.items() if series.kind is Kind.STOCK)


def known() -> str:
    """The known series, for messages."""
    return ", ".join(SERIES)
