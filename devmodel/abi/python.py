"""Writes the Python module's part of the declarations: guest/python/libdevmodel/abi.py.

It is read by whatever Python a guest has, so it is plainer than this package, and needs none of it.
"""

from enum import IntEnum, IntFlag

from devmodel.abi import counters, ioctl, layout, registers
from devmodel.abi.ioctl import Ioctl
from devmodel.abi.record import Field

# asm-generic/ioctl.h, which is x86's: the size above the type above the number.
_SIZE_SHIFT, _TYPE_SHIFT = 16, 8
_DIRECTIONS = {"_IOW": 1 << 30, "_IOR": 2 << 30, "_IOWR": 3 << 30}
_HEAD = '''\
# SPDX-License-Identifier: MIT
# {note}
"""What the driver of /dev/devmodelN understands: numbers, names, and the layout of each request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar

from libdevmodel.record import Record
'''


def module(note: str) -> str:
    """The file's text; `note` says where it comes from."""
    constants = {
        "ABI_MAJOR": registers.ABI_MAJOR,
        "ABI_MINOR": registers.ABI_MINOR,
        "LAYOUT_HASH": layout.LAYOUT_HASH,
        "PLACE_SHIFT": ioctl.PLACE_SHIFT,
    }
    lines = [_HEAD.format(note=note)]
    lines += [f"{name} = {_literal(value)}" for name, value in constants.items()]
    for _, enum in layout.SHARED_ENUMS:
        lines += _enum(enum)
    for request in ioctl.IOCTLS:
        lines += _record(request)
    rising = [f'    "{counter.name}",' for counter in counters.RISING]
    lines += ["", "", "# Of Stats, those that only rise.", "RISING = (", *rising, ")"]
    return "\n".join([*lines, ""])


def number(request: Ioctl) -> int:
    """What ioctl() wants for it."""
    size = request.record.SIZE << _SIZE_SHIFT
    return _DIRECTIONS[request.direction] | size | ioctl.IOCTL_MAGIC << _TYPE_SHIFT | request.number


def _literal(value: int) -> str:
    return f"0x{value:X}" if value > 64 else str(value)


def _enum(enum: type[IntEnum] | type[IntFlag]) -> list[str]:
    kind = "IntFlag" if issubclass(enum, IntFlag) else "IntEnum"
    title = (enum.__doc__ or "").strip().splitlines()[0]
    members = [f"    {member.name} = {_literal(member.value)}" for member in enum]
    return ["", "", f"class {enum.__name__}({kind}):", f'    """{title}"""', "", *members]


def _record(request: Ioctl) -> list[str]:
    doc = (request.record.__doc__ or "").strip()
    lines = [
        "",
        "",
        "@dataclass",
        f"class {request.record.__name__}(Record):",
        f'    """{doc}"""',
        "",
    ]
    lines += [f"    REQUEST: ClassVar[int] = {_literal(number(request))}"]
    codes = [f'        "{field.name}": "{field.code}",' for field in request.record.FIELDS]
    lines += ["    LAYOUT: ClassVar[dict[str, str]] = {", *codes, "    }", ""]
    for field in request.record.FIELDS:
        lines += [f"    {field.name}: {_type(field)}", f'    """{field.meaning}"""']
    return lines


def _type(field: Field) -> str:
    """Its type, and the default: zeros."""
    if field.ctype == "char":
        return 'bytes = b""'
    return f"tuple[int, ...] = (0,) * {field.count}" if field.count > 1 else "int = 0"
