"""Kernel series that the guest may boot, and what is known of each.

A series is known here if the driver's tests and the kernel's own HMM tests pass on it. Others
may work: name a source tree (``--kernel PATH``).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """A kernel series, by the distribution's source package."""

    name: str
    """as in "6.1" """
    suite: str | None
    """where the source package is downloaded from; None: it is installed with devmodel"""
    hmm_tests: int
    """tests of its hmm-tests that pass on our device, which is all of them"""
    whole_thp: bool
    """whether the kernel migrates a transparent huge page to device memory as one"""
    build_lines: int
    """lines that make prints for base.config: for the bar only"""
    records: int
    """thousands of 10 KiB records in the source tarball: for the bar only"""

    @property
    def package(self) -> str:
        """The source package."""
        return f"linux-source-{self.name}"


DEFAULT = "6.1"
SERIES = {
    "6.1": Series("6.1", None, 58, False, 1850, 132),
    "7.2": Series("7.2", "trixie-backports", 76, True, 2060, 165),
}


def known() -> str:
    """The known series, for messages."""
    return ", ".join(SERIES)
