"""The kernel in a bzImage, unpacked: a guest boots it without unpacking it itself.

Under TCG that saves a tenth of a boot. QEMU starts such an ELF file by its PVH note, which
CONFIG_PVH puts there (https://xenbits.xen.org/docs/unstable/misc/pvh.html). Where a bzImage keeps
its kernel: Documentation/arch/x86/boot.rst, "The real-mode kernel header".
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable

import zstandard

HEADER = b"HdrS"
FIELDS = 0x250
SECTOR = 512
# By what each begins with.
UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x28\xb5\x2f\xfd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    b"\x1f\x8b": lambda data: zlib.decompressobj(wbits=31).decompress(data),
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x5d\0\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
}


def unpack(image: bytes) -> bytes | None:
    """The ELF file in a bzImage; None if it is none, or packed in another way."""
    if image[0x202:0x206] != HEADER or len(image) < FIELDS:
        return None
    setup = (image[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = setup * SECTOR + offset
    payload = image[start : start + length]
    for magic, unpacked in UNPACK.items():
        if payload.startswith(magic):
            try:
                kernel = unpacked(payload)
            except (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, ValueError):
                return None
            # The last four bytes of what is packed are the kernel's size.
            whole = payload[-4:] == struct.pack("<I", len(kernel))
            return kernel if whole and kernel.startswith(b"\x7fELF") else None
    return None
