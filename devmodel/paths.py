"""Where devmodel keeps things, and where its own files are."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# In a checkout they lie beside the package, in a wheel within it.
DATA = PACKAGE / "_data" if (PACKAGE / "_data").is_dir() else PACKAGE.parent
GUEST = DATA / "guest"
CONFIGS = DATA / "qemu-config"


def _base(variable: str, xdg: str, default: str) -> Path:
    if own := os.environ.get(variable):
        return Path(own).expanduser().absolute()
    return Path(os.environ.get(xdg) or Path.home() / default) / "devmodel"


def cache() -> Path:
    """What can be built again: $DEVMODEL_CACHE, or devmodel/ in $XDG_CACHE_HOME or ~/.cache."""
    return _base("DEVMODEL_CACHE", "XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """VMs and their logs: $DEVMODEL_STATE, or devmodel/ in $XDG_STATE_HOME or ~/.local/state."""
    return _base("DEVMODEL_STATE", "XDG_STATE_HOME", ".local/state")


def vms() -> Path:
    """One folder for each VM, running or not."""
    return state() / "vms"
