"""The one way in which a layout is spelled: a dataclass whose annotations name C types.

A subclass of `Record` declares its fields as ``name: u64 = doc("what it means")``. From that
one declaration come the byte layout here, the C structs in the driver's and the programs'
headers, and docs/abi.md. Fields are naturally aligned and padding is declared, never implied:
`Record.__init_subclass__` refuses a struct that a C compiler would pad.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_args, get_type_hints

u32 = Annotated[int, "I", "__u32", 1]
u64 = Annotated[int, "Q", "__u64", 1]
u64x2 = Annotated[tuple[int, ...], "2Q", "__u64", 2]
u64x3 = Annotated[tuple[int, ...], "3Q", "__u64", 3]
u64x6 = Annotated[tuple[int, ...], "6Q", "__u64", 6]
u64x7 = Annotated[tuple[int, ...], "7Q", "__u64", 7]
u64x8 = Annotated[tuple[int, ...], "8Q", "__u64", 8]
text32 = Annotated[bytes, "32s", "char", 32]


def doc(text: str) -> Any:
    """A field with its meaning in one line; the default is zero of its type."""
    return dataclasses.field(default=None, metadata={"doc": text})


@dataclass(frozen=True)
class Field:
    """One member of a `Record`: its name, C type, element count, byte offset and meaning."""

    name: str
    ctype: str
    count: int
    offset: int
    size: int
    code: str
    meaning: str


@dataclass_transform()
class Record:
    """A fixed-size little-endian structure shared by guest and device.

    Subclasses set `C_NAME` and may set `SIZE` to state the size they must have.
    """

    C_NAME: ClassVar[str] = ""
    SIZE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = ()
    _struct: ClassVar[struct.Struct]

    def __init_subclass__(cls) -> None:
        dataclass(cls)
        hints = get_type_hints(cls, include_extras=True)
        fields: list[Field] = []
        offset = 0
        for item in dataclasses.fields(cls):  # type: ignore[arg-type]
            _, code, ctype, count = get_args(hints[item.name])
            size = struct.calcsize("<" + code)
            if ctype != "char" and offset % (size // count):
                raise TypeError(f"{cls.__name__}.{item.name} at {offset} is not aligned")
            meaning = item.metadata["doc"]
            fields.append(Field(item.name, ctype, count, offset, size, code, meaning))
            offset += size
        largest = max(8 if f.ctype == "__u64" else 4 for f in fields)
        if offset % largest:
            raise TypeError(f"{cls.__name__} is {offset} bytes: a C compiler would pad it")
        # A class may state it; what a base class has is that one's.
        stated = vars(cls).get("SIZE", offset)
        if offset != stated:
            raise TypeError(f"{cls.__name__} is {offset} bytes, not {stated}")
        cls.FIELDS = tuple(fields)
        cls.SIZE = offset
        cls._struct = struct.Struct("<" + "".join(f.code for f in fields))

    def __post_init__(self) -> None:
        for field in self.FIELDS:
            if getattr(self, field.name) is None:
                zero: object = 0
                if field.ctype == "char":
                    zero = b""
                elif field.count > 1:
                    zero = (0,) * field.count
                setattr(self, field.name, zero)

    def pack(self) -> bytes:
        """The record as `SIZE` bytes. A tuple shorter than its field is filled up with zeros."""
        flat: list[object] = []
        for field in self.FIELDS:
            value = getattr(self, field.name)
            if field.count > 1 and field.ctype != "char":
                flat.extend(value)
                flat.extend([0] * (field.count - len(value)))
            else:
                flat.append(value)
        return self._struct.pack(*flat)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview, offset: int = 0) -> Self:
        """Read one record at `offset`; `struct.error` if fewer than `SIZE` bytes are left."""
        flat = list(cls._struct.unpack_from(data, offset))
        values: dict[str, object] = {}
        for field in cls.FIELDS:
            if field.ctype == "char":
                values[field.name] = flat.pop(0).split(b"\0", 1)[0]
            elif field.count > 1:
                values[field.name] = tuple(flat[: field.count])
                del flat[: field.count]
            else:
                values[field.name] = flat.pop(0)
        return cls(**values)

    @classmethod
    def offset(cls, name: str) -> int:
        """Byte offset of the field `name`; `KeyError` if there is none."""
        for field in cls.FIELDS:
            if field.name == name:
                return field.offset
        raise KeyError(f"{cls.__name__} has no field {name}")
