"""The kernel that lies in a bzImage."""

import bz2
import gzip
import lzma
import struct

import pytest
import zstandard

from devmodel.build import bzimage

ELF = b"\x7fELF" + bytes(range(256)) * 64


def image(payload: bytes, *, setup: int = 3, magic: bytes = b"HdrS") -> bytes:
    """As the kernel's build makes one: real-mode sectors, a stub, and what is packed."""
    stub = b"\x90" * 700
    head = bytearray(512 * ((setup or 4) + 1))
    head[0x1F1] = setup
    head[0x202:0x206] = magic
    struct.pack_into("<II", head, 0x248, len(stub), len(payload) + 4)
    size = struct.pack("<I", len(ELF))
    return bytes(head) + stub + payload + size + b"\x90" * 300


@pytest.mark.parametrize("setup", [3, 0])
@pytest.mark.parametrize(
    "pack",
    [
        zstandard.ZstdCompressor().compress,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    ],
    ids=["zstd", "gzip", "bzip2", "xz", "lzma"],
)
def test_what_was_packed_comes_out(pack, setup: int) -> None:  # type: ignore[no-untyped-def]
    assert bzimage.elf(image(pack(ELF), setup=setup)) == ELF


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"kernel",
        image(ELF),
        image(gzip.compress(ELF), magic=b"HDRS"),
        image(gzip.compress(b"MZ" + ELF)),
        image(gzip.compress(ELF)[:200]),
        image(zstandard.ZstdCompressor().compress(ELF)[:200]),
        image(lzma.compress(ELF)[:12] + b"rubbish"),
        image(gzip.compress(ELF))[:0x248],
    ],
)
def test_none_where_there_is_none(other: bytes) -> None:
    assert bzimage.elf(other) is None
