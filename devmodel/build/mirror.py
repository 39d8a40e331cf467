"""Which Debian mirror packages come from: the machine's own, or the one in DEVMODEL_MIRROR."""

import os
import subprocess
from pathlib import Path

from devmodel.errors import HostNotReady

VARIABLE = "DEVMODEL_MIRROR"
OS_RELEASE = Path("/etc/os-release")
# Names under which a machine's list of sources may have the distribution's main archive.
MOVING_NAMES = ("stable", "oldstable", "testing", "unstable", "sid")
SCHEMES = ("http://", "https://")


def uri() -> str:
    """The archive's URI, without a slash at the end. HostNotReady, with the remedy, without one."""
    if own := os.environ.get(VARIABLE):
        return own.rstrip("/")
    ask = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)"]
    try:
        done = subprocess.run(
            [*ask, "Created-By: Packages"], capture_output=True, text=True, check=True
        )
        targets = done.stdout
    except (OSError, subprocess.CalledProcessError):
        targets = ""
    found = of_targets(targets, _codename())
    if found is None or not found.startswith(SCHEMES):
        raise HostNotReady(
            "this machine's apt knows no Debian mirror" if targets else "no Debian mirror is known",
            hint=f"set {VARIABLE} to one of Debian's list, like {VARIABLE}=http://HOST/debian",
        )
    return found.rstrip("/")


def of_targets(targets: str, codename: str) -> str | None:
    """The URI of the distribution's main archive in a machine's own list of sources.

    `targets` is a line "URI SUITE COMPONENT ORIGIN" for each package list that apt knows.
    ORIGIN is unexpanded before the first `apt-get update`.
    """
    for line in targets.splitlines():
        site, suite, component, origin = (line.split(maxsplit=3) + [""] * 4)[:4]
        if (
            suite in (codename, *MOVING_NAMES)
            and component == "main"
            and (origin == "Debian" or origin.startswith("$"))
        ):
            return site
    return None


def _codename() -> str:
    """Of the distribution that this machine runs; empty if it does not say."""
    if OS_RELEASE.is_file():
        for line in OS_RELEASE.read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip('"')
    return ""
