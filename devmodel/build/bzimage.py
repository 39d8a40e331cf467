"""A bzImage, and the kernel in it: Documentation/arch/x86/boot.rst, "The real-mode kernel header".

A guest boots the kernel unpacked, without doing that itself: under TCG that saves a tenth of a
boot. QEMU starts such an ELF file by its PVH note, which CONFIG_PVH puts there
(https://xenbits.xen.org/docs/unstable/misc/pvh.html).
"""

import struct

from devmodel.build import packed
from devmodel.errors import BuildFailed

MAGIC, MAGIC_AT = b"HdrS", 0x202
SETUP_SECTORS_AT, VERSION_AT, PAYLOAD_AT = 0x1F1, 0x20E, 0x248
HEADER = 0x250
SECTOR = 512
# Where the header says 0, as the oldest ones did.
SETUP_SECTORS = 4
LONGEST_VERSION = 200


def is_one(data: bytes) -> bool:
    """Whether these bytes are a bzImage."""
    return len(data) >= HEADER and data[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def release(data: bytes) -> str:
    """What `uname -r` says of one."""
    at = int(struct.unpack_from("<H", data, VERSION_AT)[0]) + SECTOR
    return data[at : at + LONGEST_VERSION].partition(b"\0")[0].decode(errors="replace").split()[0]


def payload(data: bytes) -> bytes:
    """What is packed in one."""
    offset, length = struct.unpack_from("<II", data, PAYLOAD_AT)
    begin = ((data[SETUP_SECTORS_AT] or SETUP_SECTORS) + 1) * SECTOR + offset
    return data[begin : begin + length]


def elf(data: bytes) -> bytes | None:
    """The kernel's ELF file; None if `data` is no bzImage, or not all of it can be had."""
    if not is_one(data):
        return None
    part = payload(data)
    try:
        kernel = packed.unpack(part)
    except BuildFailed:
        return None
    # The last four bytes of what is packed are the kernel's size.
    whole = part[-4:] == struct.pack("<I", len(kernel))
    return kernel if whole and kernel.startswith(b"\x7fELF") else None
