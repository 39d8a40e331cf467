"""What distributions pack kernels and their modules with, unpacked."""

import bz2
import lzma
import subprocess
import zlib
from pathlib import Path
from typing import Protocol

import zstandard

from devmodel.build import tree
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

# First bytes → the program of the tools tree that knows what no library here does.
PROGRAMS = {b"\x02\x21\x4c\x18": "lz4"}


def unpack(data: bytes) -> bytes:
    """`data` as it was; itself if it is not packed. What follows the packed part is no matter.

    BuildFailed if it is broken.
    """
    if (unpacker := _unpacker(data)) is not None:
        try:
            out = unpacker.decompress(data)
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
            raise BuildFailed(f"a packed file is broken: {error}") from error
        if not unpacker.eof:
            raise BuildFailed("a packed file is cut short")
        return out
    for magic, program in PROGRAMS.items():
        if data.startswith(magic):
            words = tree.obtain(Reporter(quiet=True)).native(f"bin/{program}")
            # It complains of what follows, after all is out.
            done = subprocess.run([*words, "-dc"], input=data, capture_output=True, check=False)
            if not done.stdout:
                said = done.stderr.decode(errors="replace").strip()
                raise BuildFailed(f"a packed file is broken: {program}: {said}")
            return done.stdout
    return data


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _unpacker(data: bytes) -> _Unpacker | None:
    """The library that unpacks `data`, if one does."""
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31)
    if data.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return lzma.LZMADecompressor()
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().decompressobj()
    return None


def module(path: Path) -> bytes:
    """A module, unpacked."""
    return unpack(path.read_bytes())


def module_name(path: Path) -> str:
    """Of a module's file, packed or not: "virtio_net"."""
    return path.name.partition(".ko")[0].replace("-", "_")
