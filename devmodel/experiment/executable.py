"""What a program of this machine has to be, so that a guest can run it: looked at, not tried."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from devmodel.errors import ConfigError

MAGIC = b"\x7fELF"
SCRIPT = b"#!"
# Of the ELF header: 64 bits, little endian; an executable, or one that lies anywhere; x86-64.
CLASS_64, LITTLE = 2, 1
KINDS = (2, 3)
X86_64 = 62
# e_type and e_machine; e_phoff; e_phentsize and e_phnum.
TYPE, PHOFF, PHNUM = 16, 32, 54
# A program header that names the loader.
INTERPRETER = 3
HEAD = 1 << 16


def check(path: Path) -> None:
    """ConfigError for a file that no guest can run: one line, and what would be right."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{path} is not executable", hint="chmod +x it")
    if head.startswith(SCRIPT):
        return
    if not head.startswith(MAGIC):
        raise ConfigError(
            f"{path} is neither a Linux executable nor a script",
            hint="build it first, or begin it with #!/bin/sh",
        )
    if len(head) < PHNUM + 2 or head[4:6] != bytes((CLASS_64, LITTLE)):
        raise _foreign(path)
    kind, machine = struct.unpack_from("<HH", head, TYPE)
    if machine != X86_64:
        raise _foreign(path)
    if kind not in KINDS:
        raise ConfigError(f"{path} is an object file, no executable", hint="link it, with -static")
    if _has_interpreter(head):
        raise ConfigError(
            f"{path} is dynamically linked, and guests have no libraries for it",
            hint="link it with -static",
        )


def _foreign(path: Path) -> ConfigError:
    return ConfigError(f"{path} is for another processor", hint="build it for x86-64")


def _has_interpreter(head: bytes) -> bool:
    """Whether a program header names a loader. Those that are not in `head` do not count."""
    (offset,) = struct.unpack_from("<Q", head, PHOFF)
    size, count = struct.unpack_from("<HH", head, PHNUM)
    for number in range(count):
        at = offset + number * size
        if at + 4 > len(head):
            break
        if struct.unpack_from("<I", head, at)[0] == INTERPRETER:
            return True
    return False
