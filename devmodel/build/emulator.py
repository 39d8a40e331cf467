"""QEMU: this machine's, or, where that is missing or too old, one from Debian's packages.

The latter is unpacked into the cache like the tools (`devmodel.build.tree`) and runs with its own
libraries, but outside of any sandbox: it is an ordinary program of whoever starts it.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import debs, sandbox, tree
from devmodel.build.lock import Request
from devmodel.errors import HostNotReady
from devmodel.progress import Reporter

PROGRAM = "qemu-system-x86_64"
MINIMUM = (7, 2)
# An older one is taken if it is asked for, and not else. Under 7.2's TCG a guest died of an int3 in
# __schedule() that the kernel, which patches itself, had taken away again; not seen since under 11.
# What we take for the cause: 8.1 made TCG lock pages before it translates them.
SOUND = (8, 1)
WANTED = ("auto", "host", "tree")
PACKAGE = "qemu-system-x86"
REQUEST = Request(
    "qemu",
    (f"{PACKAGE}/trixie-backports",),
    tree.SUITES,
    lambda archive: archive.closure([f"{PACKAGE}/trixie-backports"]),
)
FIRMWARE = ("share/qemu", "share/seabios")


@dataclass(frozen=True)
class Emulator:
    """A QEMU that will do."""

    argv: tuple[str, ...]
    """what its command line begins with"""
    version: tuple[int, ...]
    origin: str
    """"host", "tree", or the path of the user's own"""


def obtain(wanted: str, reporter: Reporter) -> Emulator:
    """The QEMU for `wanted`: "auto", "host", "tree", or a path. HostNotReady if there is none."""
    if wanted == "tree":
        return _of_tree(reporter)
    if wanted not in WANTED:
        return _checked(Path(wanted).expanduser(), wanted)
    if wanted == "host":
        return host()
    return sound_host() or _of_tree(reporter)


def comes_unpacked(wanted: str) -> bool:
    """Whether `obtain` gives the unpacked one."""
    return wanted == "tree" or (wanted == "auto" and sound_host() is None)


def sound_host() -> Emulator | None:
    """This machine's, if it is one that is taken unasked."""
    try:
        found = host()
    except HostNotReady:
        return None
    return found if found.version >= SOUND else None


def host() -> Emulator:
    """This machine's. HostNotReady if it has none, or an old one."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise HostNotReady(f"no {PROGRAM}", hint="install it, or leave it to qemu: auto")
    return _checked(Path(PROGRAM), "host")


def find_tree() -> Emulator | None:
    """The unpacked one if it is in the cache; nothing is asked."""
    found = debs.find(tree.KIND, REQUEST, prefix=REQUEST.name)
    return None if found is None else _unpacked(found[0])


def _of_tree(reporter: Reporter) -> Emulator:
    return _unpacked(tree.unpacked(REQUEST, reporter)[0])


def _unpacked(path: Path) -> Emulator:
    argv = sandbox.native(path, f"bin/{PROGRAM}")
    for folder in FIRMWARE:
        argv += ["-L", str(path / "usr" / folder)]
    return Emulator(tuple(argv), _version(argv), "tree")


def _checked(program: Path, origin: str) -> Emulator:
    found = _version([str(program)])
    if found < MINIMUM:
        shown = ".".join(map(str, found)) or "of an unknown version"
        raise HostNotReady(
            f"{program} is {shown}",
            hint=f"install {MINIMUM[0]}.{MINIMUM[1]} or newer, or leave it to qemu: auto",
        )
    return Emulator((str(program),), found, origin)


def _version(argv: list[str]) -> tuple[int, ...]:
    try:
        done = subprocess.run(
            [*argv, "--version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostNotReady(f"{argv[0]} does not run: {error}", hint="is it a QEMU?") from error
    return parse_version(done.stdout)


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers in `QEMU emulator version 7.2.22 (Debian ...)`; empty if there are none."""
    words = text.split()
    if "version" not in words[:-1]:
        return ()
    number = words[words.index("version") + 1]
    return tuple(int(part) for part in number.split(".") if part.isdigit())
